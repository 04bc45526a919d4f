"""Armada's client library beside others, too old, too new, broken and missing: each in a process
of its own, since what is imported stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import armada_client
import pytest

OURS = "import batchbridge_armada.protocol as p; print(p.submit_pb2.__name__)"
THEIRS = "import google.api.annotations_pb2"
BARE = "import armada_client.armada.submit_pb2"


def python(code, path=None, **env):
    """What that program does where these modules come first."""
    paths = [str(path)] if path else []
    paths += [entry for entry in sys.path if entry]
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **env}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=given, check=False
    )


# -- google.api -----------------------------------------------------------------------------------


@pytest.fixture
def google_api(tmp_path):
    """The ``google.api`` of another distribution: the same names, files that are not the same."""
    home = tmp_path / "google" / "api"
    home.mkdir(parents=True)
    source = Path(armada_client.__file__ or next(iter(armada_client.__path__))).parent
    for name, old, new in (
        ("http", "HttpProto", "HttpProtO"),
        ("annotations", "AnnotationsProto", "AnnotationsProtO"),
    ):
        text = (source / "google" / "api" / f"{name}_pb2.py").read_text()
        assert old in text
        text = text.replace("armada_client.google.api", "google.api").replace(old, new)
        (home / f"{name}_pb2.py").write_text(text)
    return tmp_path


@pytest.mark.parametrize("order", [(THEIRS, BARE), (BARE, THEIRS)], ids=["theirs", "ours"])
def test_two_copies_cannot_be_loaded(google_api, order):
    """Why there is a cure; which is first does not matter."""
    done = python("; ".join(order), google_api)
    assert done.returncode
    assert "google/api" in done.stderr


@pytest.mark.parametrize("order", [(THEIRS, OURS), (OURS, THEIRS)], ids=["theirs", "ours"])
def test_one_copy_serves_both(google_api, order):
    done = python("; ".join(order), google_api)
    assert done.stdout == "armada_client.armada.submit_pb2\n", done.stderr


def test_a_copy_that_is_loaded_already_is_used(google_api):
    done = python(f"{BARE}; {OURS}", google_api)
    assert done.stdout == "armada_client.armada.submit_pb2\n", done.stderr


# -- what does not fit ----------------------------------------------------------------------------

DOCTOR = "import sys, runpy; sys.argv[1:] = ['doctor', '--json', 'armada']; "
DOCTOR += "runpy.run_module('batchbridge', run_name='__main__')"


def doctor(tmp_path, init):
    """What doctor says where Armada's client library is that."""
    home = tmp_path / "lib" / "armada_client"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text(init)
    user = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = python(DOCTOR, tmp_path / "lib", BATCHBRIDGE_ARMADA_ADDRESS="127.0.0.1:9", **user)
    assert done.returncode == 125, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return next(one for one in told if "armada-client" in json.dumps(one) and not one["ok"])


def test_doctor_tells_a_protobuf_that_is_too_old(tmp_path):
    """What 0.5.1 does on protobuf 6, which its metadata allows."""
    words = "Detected incompatible Protobuf Gencode/Runtime versions: gencode 7.35.1 runtime 6.33.6"
    check = doctor(
        tmp_path,
        f"class VersionError(Exception): pass\nraise VersionError({words!r})\n",
    )
    assert "do not fit each other" in check["detail"]
    assert "gencode 7.35.1 runtime 6.33.6" in check["detail"]
    assert "protobuf" in check["remedy"]


def test_doctor_tells_a_grpcio_that_is_too_old(tmp_path):
    words = (
        "The grpc package installed is at version 1.68.1, but the generated code depends on more"
    )
    check = doctor(tmp_path, f"raise RuntimeError({words!r})\n")
    assert "1.68.1" in check["detail"]
    assert "grpcio" in check["remedy"]


def test_doctor_tells_a_client_that_is_not_there(tmp_path):
    check = doctor(tmp_path, "raise ModuleNotFoundError('No module named \\'armada_client\\'')\n")
    assert "is not installed" in check["detail"]
    assert "batchbridge[armada]" in check["remedy"]


def test_the_driver_is_listed_without_its_client_library():
    """Importing it must not take the time that gRPC takes, nor fail where that is broken."""
    done = python(
        "import sys, batchbridge_armada; print([m for m in sys.modules if m.startswith('grpc')])"
    )
    assert done.stdout.strip() == "[]"


# -- grpcio ---------------------------------------------------------------------------------------


def test_grpc_does_not_write_what_it_raises(armada):
    """Of a handshake that failed it tells on stderr by itself."""
    code = (
        "from batchbridge_armada import ArmadaDriver\n"
        f"settings = ArmadaDriver.Settings(address={armada.address!r}, tls='on')\n"
        "print(*ArmadaDriver(settings).probe())"
    )
    done = python(code)
    assert "Tls handshake failed" in done.stdout
    assert done.stderr == ""
