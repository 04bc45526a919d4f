"""Steps whose datastore is S3, and where the credentials to it are to be found: nowhere."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from localdev.s3_server import Running, s3_client

from .conftest import DEADLINE, PYTHONS, Place, eventually, run_id_of

pytestmark = pytest.mark.timeout(300)  # whole flows, of several processes each

CANARY = "canary-7f3a9c"


@pytest.fixture
def env(s3_server: Running) -> dict[str, str]:
    """What the launcher of a flow over S3 has in its environment: credentials too."""
    return {
        "AWS_ACCESS_KEY_ID": f"{CANARY}-id",
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "METAFLOW_DEFAULT_DATASTORE": "s3",
        "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{s3_server.bucket}/{CANARY[:6]}",
        "METAFLOW_S3_ENDPOINT_URL": s3_server.endpoint,
        "SOME_TOKEN": f"{CANARY}-token",
    }


def arguments() -> Iterator[str]:
    """The arguments of every process, as everybody on this machine sees them."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            yield from process.cmdline()


def everything_stored(server: Running) -> Iterator[bytes]:
    """Every object in the bucket; of the archives, every file."""
    client = s3_client(server)
    for entry in client.list_objects_v2(Bucket=server.bucket).get("Contents", []):
        data = client.get_object(Bucket=server.bucket, Key=entry["Key"])["Body"].read()
        yield data
        if data[:2] == b"\x1f\x8b":
            yield gzip.decompress(data)
        if tarfile.is_tarfile(io.BytesIO(data)):
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                yield from (tar.extractfile(m).read() for m in tar if m.isfile())  # type: ignore[union-attr]


@pytest.mark.parametrize("python", PYTHONS)
def test_a_flow_over_s3_and_its_secrets(
    place: Place, env: dict[str, str], s3_server: Running, python: str
) -> None:
    """Artifacts, logs, a card, metadata and a retry; then the search for the canary."""
    place = replace(place, python=python)
    process = place.start("s3_flow.py", "run", "--place", str(place.root), env=env)
    eventually(lambda: place.marks() or process.poll() is not None, "the step begins")
    seen = "\0".join(arguments())
    (place.root / "marks" / "go").write_text("on")
    console, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, console
    assert CANARY not in seen
    assert "s3_flow.py" in seen
    _check_run(place, env, console)
    _check_secrets(place, s3_server, console)


def _check_run(place: Place, env: dict[str, str], console: str) -> None:
    run = place.show("S3Flow", console, env=env)
    start = run["steps"]["start"][0]
    assert run["ok"]
    assert start["artifacts"]["x"] == 41
    assert start["artifacts"]["asked"] == {"SOME_TOKEN": len(f"{CANARY}-token")}
    assert start["stdout"].count("over S3") == 1
    assert console.count("over S3") == 1
    assert start["attempt"] == 1
    states = [value for name, value in start["metadata"] if name == "batchbridge-state"]
    assert sorted(states) == ["FAILED", "SUCCEEDED"]
    assert "ds-type" in dict(start["metadata"])  # written in the job, and brought home
    card = place.flow("s3_flow.py", "card", "get", f"{run_id_of(console)}/start", env=env)
    assert "<html" in card


def _check_secrets(place: Place, server: Running, console: str) -> None:
    assert CANARY not in console
    for path in place.root.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
    assert not any(CANARY.encode() in data for data in everything_stored(server))


def test_a_crash_shows_no_secret(place: Place, env: dict[str, str]) -> None:
    console = place.flow(
        "s3_flow.py", "run", "--place", str(place.root), "--crash", "1", env=env, code=1
    )
    assert "crashed on purpose" in console
    assert CANARY not in console


def test_a_secret_that_is_missing_here_is_named(place: Place, env: dict[str, str]) -> None:
    lacking: dict[str, Any] = {name: v for name, v in env.items() if name != "SOME_TOKEN"}
    console = place.flow("s3_flow.py", "run", "--place", str(place.root), env=lacking, code=1)
    assert "SOME_TOKEN" in console
    assert not list(Path(place.root, "marks").glob("*"))
