"""The user's own files, as one archive: packed where a job is submitted, unpacked where it runs.

:func:`pack` makes the archive and :func:`deliver` finds it a way: inside the submission while it
is small, else by its digest through a store that the user named. A driver of an engine on this
machine calls :func:`extract`; one of an engine elsewhere puts :func:`unpack_script` before the
command.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from base64 import encodebytes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from gzip import GzipFile
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from pathspec import GitIgnoreSpec

from batchbridge import stores
from batchbridge.errors import SpecError, StoreError
from batchbridge.model import Files

if sys.version_info >= (3, 12):
    import tarfile
else:  # Python 3.11.2, which Debian 12 has, knows no extraction filters
    from backports import tarfile

IGNORE_FILE = ".batchbridgeignore"
"""What stays behind, in gitignore's syntax, of the directory that the file stands in."""

DEFAULT_IGNORES = (".git", ".hg", ".svn", "__pycache__", ".venv")
"""What stays behind unless an ignore file says otherwise (``!.venv``)."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A gzipped tar in memory. The same files make the same bytes, whoever packs them, and when."""

    digest: str  #: sha256 of `data`, hex
    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return len(self.data)


# -- packing ---------------------------------------------------------------------------------


def pack(paths: Sequence[str], *, root: Path) -> Archive:
    """The files and directories that `paths` name, relative to `root`, as one archive.

    A path below `root` keeps its place; one from elsewhere lands under its last name. What a
    directory holds is subject to DEFAULT_IGNORES and to every IGNORE_FILE from `root` down. A link
    that is named travels as what it leads to; a link found inside is kept if it leads to something
    that travels too. Modes become 755 or 644, owners and times are dropped. Raises SpecError naming
    the path that is missing, ignored, special, in another's place, or a link that leads out;
    StoreError where reading fails.
    """
    try:
        members = _members([_Named.of(path, root.resolve()) for path in paths])
        data = _gzip(_tar(members))
    except OSError as error:
        raise StoreError(f"upload: cannot pack: {error}") from error
    return Archive(sha256(data).hexdigest(), data)


@dataclass(frozen=True, slots=True)
class _Rules:
    """Ignore files in force, the outermost first: each with the directory that it governs."""

    layers: tuple[tuple[Path, GitIgnoreSpec], ...]

    @classmethod
    def at(cls, top: Path) -> _Rules:
        return cls(((top, GitIgnoreSpec.from_lines(DEFAULT_IGNORES)),))

    def inside(self, folder: Path) -> _Rules:
        file = folder / IGNORE_FILE
        if not file.is_file():
            return self
        lines = file.read_text("utf-8", "surrogateescape").splitlines()
        try:
            return _Rules((*self.layers, (folder, GitIgnoreSpec.from_lines(lines))))
        except ValueError as error:  # what pathspec raises is one, whatever its version calls it
            raise _refused(str(file), f"cannot be read: {error}") from None

    def ignore(self, path: Path) -> bool:
        slash = "/" if _is_folder(path) else ""
        for folder, spec in reversed(self.layers):
            verdict = spec.check_file(path.relative_to(folder).as_posix() + slash).include
            if verdict is not None:
                return verdict
        return False


@dataclass(frozen=True, slots=True)
class _Named:
    """One path as the user named it: its place in the archive, what it is, what governs it."""

    place: PurePosixPath
    source: Path
    rules: _Rules

    @classmethod
    def of(cls, path: str, root: Path) -> _Named:
        source = _without_links_above(root / path)
        if not source.exists():
            raise _refused(path, "is not there")
        if source == root:
            return cls(PurePosixPath(), source, _Rules.at(root))
        if not source.is_relative_to(root):
            return cls(PurePosixPath(source.name), source, _Rules.at(source))
        rules = _Rules.at(root)
        for folder in reversed([p for p in source.parents if p.is_relative_to(root)]):
            rules = rules.inside(folder)
        if rules.ignore(source):
            raise _refused(path, "is ignored", f"let {IGNORE_FILE} say '!{source.name}'")
        return cls(PurePosixPath(source.relative_to(root)), source, rules)

    def members(self) -> Iterator[tuple[PurePosixPath, Path]]:
        whole = self.source.resolve()
        if self.place.name:
            yield self.place, whole
        if whole.is_dir():
            rules = self.rules if whole == self.source else _Rules.at(whole)
            yield from _below(whole, self.place, rules)


def _without_links_above(path: Path) -> Path:
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _below(
    folder: Path, place: PurePosixPath, rules: _Rules
) -> Iterator[tuple[PurePosixPath, Path]]:
    rules = rules.inside(folder)
    for child in folder.iterdir():
        if rules.ignore(child):
            continue
        yield place / child.name, child
        if _is_folder(child):
            yield from _below(child, place / child.name, rules)


def _members(named: Sequence[_Named]) -> Mapping[PurePosixPath, Path]:
    members: dict[PurePosixPath, Path] = {}
    for place, source in (member for one in named for member in one.members()):
        if members.setdefault(place, source) != source:
            raise _refused(str(source), f"and {members[place]} would both become {place}")
    for place, source in members.items():
        if source.is_symlink():
            _check_link(place, source, [one.place for one in named])
    return dict(sorted(members.items()))


def _check_link(place: PurePosixPath, source: Path, tops: Iterable[PurePosixPath]) -> None:
    target = source.readlink()
    lands = PurePosixPath(os.path.normpath(place.parent / target))
    if lands.is_absolute() or ".." in lands.parts or not any(map(lands.is_relative_to, tops)):
        remedy = f"upload what it leads to as well, or name it in {IGNORE_FILE}"
        raise _refused(str(source), f"is a link that leads out, to {target}", remedy)


def _tar(members: Mapping[PurePosixPath, Path]) -> bytes:
    buffer = BytesIO()
    # Not PAX, the default: busybox reads no PAX headers, and would cut long names off.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as tar:
        for place, source in members.items():
            info, data = _member(str(place), source)
            tar.addfile(info, BytesIO(data))
    return buffer.getvalue()


def _member(name: str, source: Path) -> tuple[tarfile.TarInfo, bytes]:
    info, mode = tarfile.TarInfo(name), source.lstat().st_mode
    info.mode = 0o755 if mode & stat.S_IXUSR else 0o644
    if stat.S_ISLNK(mode):
        info.type, info.linkname = tarfile.SYMTYPE, str(source.readlink())
        return info, b""
    if stat.S_ISDIR(mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        return info, b""
    if not stat.S_ISREG(mode):
        raise _refused(str(source), "is a pipe, a socket or a device")
    data = source.read_bytes()
    info.size = len(data)
    return info, data


def _gzip(data: bytes) -> bytes:
    buffer = BytesIO()
    with GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def _refused(path: str, problem: str, remedy: str = "") -> SpecError:
    return SpecError(f"upload: {path} {problem}", path="upload", remedy=remedy)


# -- on the way ------------------------------------------------------------------------------


def deliver(archive: Archive, *, limit: int | None, store: str | None) -> Files:
    """`archive` inside the submission if it has at most `limit` bytes, else put into `store`.

    `store` is ``s3://bucket/prefix`` or a directory that the job's machine sees under the same
    path. What is stored is named by its digest and stored once; an address in S3 is signed for
    seven days. Raises SpecError, before any I/O, where it neither fits nor has a store; ConfigError
    where the store's name cannot be used; StoreError where storing fails.
    """
    if limit is not None and archive.size <= limit:
        return Files(archive.digest, archive.size, data=archive.data)
    if not store:
        raise SpecError(
            f"upload: {archive.size} bytes packed, {limit or 0} fit into a submission",
            path="upload",
            remedy=f"name a store (s3://bucket/prefix or a shared directory), or let {IGNORE_FILE}"
            " leave something out",
        )
    location = stores.put(store, f"{archive.digest}.tar.gz", archive.data)
    return Files(archive.digest, archive.size, location=location)


# -- where the job runs ----------------------------------------------------------------------


def unpack_script(files: Files, target: str) -> str:
    """Lines of POSIX sh that put `files` into the directory `target`, which they make.

    `target` is a word of the shell: quoted as it has to be, expanded on the job's machine
    (``'"$PWD"/work'``). The lines run in a shell of their own, change no directory, check the
    digest, and on any failure say so on stderr and exit with 125.
    """
    head = [f"target={target}", f"digest={files.digest}", f"location={_for_sh(files)}"]
    if files.data is not None:
        text = encodebytes(files.data).decode()
        head.append(f"payload() {{ cat <<'BATCHBRIDGE_UPLOAD'\n{text}BATCHBRIDGE_UPLOAD\n}}")
    body = Path(__file__).with_name("unpack.sh").read_text()
    return "\n".join(("(", *head, body + ") || exit 125", ""))


def _for_sh(files: Files) -> str:
    location = files.location or ""
    shared = location.startswith("file://")
    return shlex.quote(unquote(urlsplit(location).path) if shared else location)


def extract(files: Files, target: Path) -> None:
    """Put `files` into the directory `target`, which is made; nothing lands outside of it.

    Raises StoreError where they cannot be fetched, are not what their digest says, or hold a member
    that is refused (absolute, leading out, special).
    """
    try:
        data = files.data if files.data is not None else _read(files.location or "")
        if sha256(data).hexdigest() != files.digest:
            raise StoreError("upload: the archive fetched is not the one that was stored")
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=BytesIO(data), mode="r:gz") as tar:
            tar.extractall(target, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise StoreError(f"upload: cannot unpack into {target}: {error}") from error


def _read(location: str) -> bytes:
    with urlopen(location, timeout=60) as answer:
        data: bytes = answer.read()
    return data
