"""Container images that are made of what this machine has: nothing is pulled.

One holds a shell and little else; the other holds this Python too, with what Metaflow needs of it
to run a step over S3.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePath
from uuid import uuid4

import pytest

BUSYBOX = shutil.which("busybox") or "busybox"
"""A shell in one file, linked statically."""

KEEP = 'plugin "docker" {\n config {\n gc {\n image = false\n }\n }\n}\n'
"""Configures Nomad not to remove Docker's images three minutes after their last use."""

NEEDED = ("boto3", "requests")
"""What a step over S3 imports beside Metaflow itself, which comes with the code package."""

LEFT_OUT = re.compile(r"(^|/)(__pycache__|test|tests|idlelib|site-packages|config-[^/]*)$|\.a$")
"""Of this Python, what no step needs."""


@dataclass(frozen=True)
class Keeper:
    """A program that keeps images: ``docker``, or ``podman`` with its options."""

    command: tuple[str, ...] = ("docker",)

    def run(self, *words: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run ``COMMAND WORDS``, whatever comes of it."""
        return subprocess.run([*self.command, *words], input=data, capture_output=True)

    def add(self, name: str, root: bytes) -> None:
        """Keep that root file system as the image of that name."""
        made = self.run("import", "-", name, data=root)
        assert made.returncode == 0, made.stderr

    def remove(self, name: str) -> None:
        """Keep it no longer."""
        self.run("rmi", "--force", name)

    @contextmanager
    def image(self, root: bytes) -> Iterator[str]:
        """The name of an image of that root file system, which is kept meanwhile."""
        name = f"localhost/batchbridge-test:{uuid4().hex}"
        self.add(name, root)
        try:
            yield name
        finally:
            self.remove(name)


def need_busybox() -> None:
    """Skip the test where no image can be made."""
    if shutil.which("busybox") is None:
        pytest.skip("there is no busybox on PATH to make an image of")
    if b"not a dynamic executable" not in _ldd(BUSYBOX):
        pytest.skip("the busybox on PATH is not linked statically")


def shell_root() -> bytes:
    """The root file system, as a tar archive, that consists of busybox, and its many names."""
    return _archive(_shell())


def python_root() -> bytes:
    """The same with this Python as ``python``, and with what :data:`NEEDED` names."""
    return _archive([*_shell(), *_python()])


@dataclass(frozen=True)
class _Entry:
    """A file, link or directory of an image."""

    name: str
    source: Path | None = None
    link: str = ""

    def add_to(self, tar: tarfile.TarFile) -> None:
        if self.source is not None:
            tar.add(self.source, self.name, filter=_kept)
            return
        made = tarfile.TarInfo(self.name)
        made.type, made.linkname = tarfile.SYMTYPE, self.link
        if not self.link:
            made.type, made.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(made)


def _archive(entries: Iterable[_Entry]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for entry in entries:
            entry.add_to(tar)
    return file.getvalue()


def _kept(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if LEFT_OUT.search(info.name) else info


def _shell() -> Iterator[_Entry]:
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    yield _Entry("bin/busybox", Path(BUSYBOX))
    for name in {*listed.stdout.split()} - {"busybox"}:
        yield _Entry(f"bin/{name}", link="busybox")
    yield _Entry("tmp")
    yield _Entry("root")


def _python() -> Iterator[_Entry]:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library, program = Path(sys.base_prefix, "lib", version), Path(sys.executable).resolve()
    added = {library / "site-packages" / file: path for file, path in _files(_closure(NEEDED))}
    compiled = [*library.glob("lib-dynload/*.so"), *added.values()]
    linked = _shared([program, *(path for path in compiled if path.suffix == ".so")])
    yield _Entry("bin/python", link=str(program))
    for path in (program, library, *linked):
        yield _Entry(str(path), path.resolve())
    for place, path in added.items():
        yield _Entry(str(place), path)


def _files(distributions: Iterable[str]) -> Iterator[tuple[PurePath, Path]]:
    """Their files, as they are below ``site-packages`` and as they are here."""
    for name in distributions:
        for file in distribution(name).files or ():
            if ".." not in file.parts:
                yield file, Path(str(file.locate()))


def _shared(programs: Iterable[Path]) -> set[Path]:
    """The libraries that these are linked with, the loader too."""
    found = b"".join(_ldd(str(program)) for program in programs).decode()
    return {Path(name) for name in re.findall(r"(?:=> |^\s+)(/\S+) \(", found, flags=re.M)}


def _ldd(program: str) -> bytes:
    done = subprocess.run(["ldd", program], capture_output=True)
    return done.stdout + done.stderr


def _closure(names: Iterable[str]) -> set[str]:
    """These distributions and all that they require, as far as it is installed."""
    found: set[str] = set()
    left = [*names]
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        left += [re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line]
    return found
