"""Where secrets and the launcher's environment are found: in the one sanctioned place only.

Each credential and secret has a value that stands nowhere else in the world. Everything is run as a
user would, and then everything that was written, said or passed on is searched for these values.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

PATIENCE = 60.0
RAN = "sha256 of the token: "

FLOW = """
import hashlib, os
from metaflow import FlowSpec, local_batch, step

class CanaryFlow(FlowSpec):
    @local_batch(secrets={"TOKEN": "env:SOURCE_OF_TOKEN"})
    @step
    def start(self):
        print("sha256 of the token: " + hashlib.sha256(os.environ["TOKEN"].encode()).hexdigest())
        assert "UNNAMED" not in os.environ
        self.next(self.end)

    @local_batch(secrets={"TOKEN": "env:SOURCE_OF_TOKEN"})
    @step
    def end(self):
        raise RuntimeError("the step crashes")

if __name__ == "__main__":
    CanaryFlow()
"""


@dataclass
class World:
    """A home, a spool, a journal and a datastore, and all that was said in it."""

    root: Path
    said: list[bytes] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.root / "home"),
            "USER": "tester",
            "BATCHBRIDGE_LOCAL_ROOT": str(self.root / "spool"),
            "BATCHBRIDGE_STATE_DIR": str(self.root / "state"),
            "METAFLOW_HOME": str(self.root / "home"),
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(self.root / "datastore"),
            "METAFLOW_DEFAULT_DATASTORE": "local",
            "METAFLOW_DEFAULT_METADATA": "local",
            "METAFLOW_BATCHBRIDGE_CACHE": str(self.root / "cache"),
            "SOURCE_OF_TOKEN": self.value("token"),
            "UNNAMED": self.value("the launcher's environment"),
        }

    def value(self, what: str) -> str:
        return self.values.setdefault(what, f"canary-{uuid.uuid4().hex}")

    def begin(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *command: str) -> str:
        out, err = self.begin(*command).communicate(timeout=PATIENCE * 2)
        self.said += [out, err]
        return out.decode()

    def bb(self, *args: str) -> str:
        return self.run(sys.executable, "-m", "batchbridge", *args)

    def found_in_files(self) -> dict[str, set[str]]:
        """What of the values stands in files, archives unpacked: value's name -> paths."""
        found: dict[str, set[str]] = {}
        for path in self.root.rglob("*"):
            if path.is_file() and path.name not in ("token-file", "token-command"):
                for what in self.found_in(path.read_bytes()):
                    found.setdefault(what, set()).add(str(path.relative_to(self.root)))
        return found

    def found_in(self, data: bytes) -> set[str]:
        texts = list(unpacked(data))
        return {what for what, value in self.values.items() for t in texts if value.encode() in t}

    def found_in_arguments(self) -> set[str]:
        words = b"\n".join(arguments())
        return {what for what, value in self.values.items() if value.encode() in words}

    def holders(self) -> dict[str, set[str]]:
        """What of the values stands in the environment of which processes: name -> commands."""
        found: dict[str, set[str]] = {}
        for process in psutil.process_iter():
            try:
                environment = "\n".join(process.environ().values())
                command = " ".join(process.cmdline())
            except (psutil.Error, OSError):
                continue
            for what, value in self.values.items():
                if value in environment:
                    found.setdefault(what, set()).add(command)
        return found


def unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes, and what is in them where they are compressed or an archive."""
    yield data
    if data[:2] == b"\x1f\x8b":
        plain = gzip.decompress(data)
        yield plain
        if tarfile.is_tarfile(io.BytesIO(plain)):
            with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
                files = (tar.extractfile(member) for member in tar if member.isfile())
                yield from (file.read() for file in files if file)


def arguments() -> Iterator[bytes]:
    for process in psutil.process_iter():
        try:
            yield "\0".join(process.cmdline()).encode()
        except (psutil.Error, OSError):
            continue


def until(holds, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    world = World(tmp_path)
    for name in ("home", "spool", "state", "datastore"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "token-file").write_text(world.value("file") + "\n")
    (tmp_path / "token-command").write_text(f"#!/bin/sh\necho {world.value('command')}\n")
    (tmp_path / "token-command").chmod(0o700)
    yield world
    world.bb("cancel", "--yes", "--since", "1d", "--state", "queued", "--state", "running")
    (tmp_path / "spool" / "lock").unlink(missing_ok=True)


def secrets(world: World) -> list[str]:
    sources = {
        "TOKEN": "env:SOURCE_OF_TOKEN",
        "FILED": f"file:{world.root / 'token-file'}",
        "COMMANDED": f"command:{world.root / 'token-command'}",
    }
    return [word for name, source in sources.items() for word in ("--secret", f"{name}={source}")]


def test_secrets_of_jobs_stand_in_the_spools_own_file_until_the_command_has_them(world):
    script = (
        f'printf %s "{RAN}"; printf %s "$TOKEN" | sha256sum; test -z "$UNNAMED" || exit 9; '
        'test -n "$FILED" -a -n "$COMMANDED" || exit 8; while ! [ -e go ]; do sleep 0.05; done'
    )
    one_at_a_time = ["--backend", "local", "--max-cpu", "1"]
    payload = world.bb(
        "submit", "--dry-run", *one_at_a_time, *secrets(world), "--", "sh", "-c", script
    )
    assert "TOKEN" in payload
    blocker = world.bb("submit", *one_at_a_time, "--", "sleep", "1000").strip()
    queued = world.bb("submit", *one_at_a_time, *secrets(world), "--", "sh", "-c", script).strip()

    # Queued: in one private file of the spool, and nowhere else.
    held = world.found_in_files()
    assert held.keys() == {"token", "file", "command"}
    (place,) = set().union(*held.values())
    assert place == f"spool/jobs/{queued.rpartition('/')[2]}/secrets"
    assert stat.S_IMODE((world.root / place).stat().st_mode) == 0o600
    assert world.holders() == {}

    # Running: in the environment of the command, and nowhere else.
    world.bb("cancel", blocker)
    until(lambda: "token" in world.holders(), "the job's start")
    assert world.found_in_files() == {}
    assert world.found_in_arguments() == set()
    assert all("sh -c" in c or "sleep" in c for cs in world.holders().values() for c in cs)
    (world.root / "go").touch()
    world.bb("wait", queued)

    # Over: nowhere.
    logs = world.bb("logs", queued)
    assert RAN + hashlib.sha256(world.value("token").encode()).hexdigest() in logs
    for verb in ("status", "watch", "logs", "explain"):
        world.bb(verb, "--json", queued)
    world.bb("list", "--json")
    world.bb("config", "--json")
    world.bb("doctor")
    assert json.loads(world.bb("status", "--json", queued))["state"] == "SUCCEEDED"
    assert world.found_in_files() == {}
    assert world.found_in(b"".join(world.said)) == set()


def test_no_error_and_no_traceback_shows_a_secret(world):
    broken = world.root / "token-command"
    broken.write_text(f"#!/bin/sh\necho {world.value('command')}; exit 1\n")
    world.bb("--debug", "submit", *secrets(world), "--", "true")
    world.bb("--debug", "submit", *secrets(world)[:4], "--max-cpu", "1", "--cpu", "5", "--", "true")
    world.bb("--debug", "submit", "--follow", *secrets(world)[:4], "--", "no-such-program")
    world.bb("--debug", "submit", *secrets(world)[:4], "--env", "TOKEN=x", "--", "true")
    assert b"Traceback" in b"".join(world.said)
    assert world.found_in(b"".join(world.said)) == set()
    assert world.found_in_files() == {}


def test_a_metaflow_step_has_its_secret_and_nobody_else_has(world):
    flow = world.root / "flow.py"
    flow.write_text(FLOW)
    run = world.begin(sys.executable, str(flow), "--no-pylint", "run")
    seen: set[str] = set()
    while run.poll() is None:
        seen |= world.found_in_arguments()
        time.sleep(0.05)
    out, err = run.communicate()
    world.said += [out, err]
    assert RAN + hashlib.sha256(world.value("token").encode()).hexdigest() in out.decode()
    assert "the step crashes" in out.decode() + err.decode()
    assert run.returncode != 0
    world.bb("list", "--json")
    assert seen == set()
    assert world.found_in(b"".join(world.said)) == set()
    assert world.found_in_files() == {}
