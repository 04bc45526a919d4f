"""``localdev/armada`` from programs already built, with stand-ins for every one."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import psutil
import pytest

from localdev.armada_state import load
from tests.localdev.conftest import notes, processes, stand_in

pytestmark = pytest.mark.timeout(600)  # a dozen processes of Python each

ARMADAS = ("server", "scheduler", "scheduleringester", "eventingester", "lookoutingester")
BUILT = (*ARMADAS, "lookout", "fakeexecutor", "executor", "binoculars")


@pytest.fixture
def built(home: Path, checkout: Path) -> list[str | Path]:
    """``up`` from programs, with stores that are started."""
    (home / "pulsar" / "conf").mkdir(parents=True)
    (home / "pulsar" / "conf" / "standalone.conf").write_text("webServicePort=8080\nkept=1\n")
    stand_in(home / "pulsar" / "bin", "pulsar")
    stand_in(home / "bin", "redis-server", "java")
    stand_in(home / "postgres", "postgres", "initdb")
    programs = stand_in(home / "built", *BUILT)
    stores = ("--postgres", home / "postgres")
    return ["--checkout", checkout, "--bin", programs, *stores, "--port", 0, "--binoculars-port", 0]


@pytest.fixture
def as_nobody(home: Path) -> None:
    """PostgreSQL is lent to another user, who must get to its stand-in."""
    if os.geteuid() == 0:
        pytest.skip("root's Python is out of another user's reach: PostgreSQL is named instead")


def test_up_from_programs_takes_a_job_and_down_leaves_nothing(armada, built, home):
    up = armada("up", *named_postgres(built))
    assert up.returncode == 0, up.stderr
    pids = processes(home)
    assert list(pids) == ["pulsar", "redis", *ARMADAS, "fakeexecutor"]
    assert "running" in armada("status").stdout

    assert armada("down").returncode == 0
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert list((home / "state").iterdir()) == []
    assert armada("status").returncode == 1


def named_postgres(words):
    """The same, with a server for PostgreSQL, which need not answer."""
    return [*words, "--postgres", "postgresql://me:word@127.0.0.1:1"]


@pytest.mark.usefixtures("as_nobody")
def test_postgres_is_made_with_both_databases(armada, built, home):
    up = armada("up", *built)
    assert up.returncode == 0, up.stderr
    stack = load(home / "state" / "armada")
    assert stack is not None
    (folder,) = map(Path, stack.folders)
    assert folder.exists()
    assert "postgres" in stack.processes
    armada("down")
    assert not folder.exists()


def test_what_up_prints_is_for_the_shell_and_the_profile_says_the_same(armada, built, home):
    up = armada("up", *named_postgres(built))
    asked = 'echo "$BATCHBRIDGE_ARMADA_ADDRESS $METAFLOW_ARMADA_PORT $METAFLOW_ARMADA_QUEUE"'
    shell = subprocess.run(["/bin/sh"], input=up.stdout + asked, capture_output=True, text=True)
    address, port, queue = shell.stdout.split()
    profile = tomllib.loads((home / "state" / "armada" / "config.toml").read_text())["profile"]
    assert profile == {
        "localdev-armada": {"backend": "armada", "address": address, "queue": "batchbridge"}
    }
    assert (address, queue) == (f"localhost:{port}", "batchbridge")


def test_up_again_finds_the_same(armada, built, home):
    first = armada("up", *named_postgres(built))
    before = processes(home)
    assert armada("up", *named_postgres(built)).stdout == first.stdout
    assert processes(home) == before


def test_up_again_starts_anew_what_is_no_longer_whole(armada, built, home):
    armada("up", *named_postgres(built))
    before = processes(home)
    psutil.Process(before["scheduler"]).kill()
    broken = armada("status")
    assert broken.returncode == 1
    assert "ENDED" in broken.stdout
    again = armada("up", *named_postgres(built))
    assert "taken down first" in again.stderr
    assert not set(before.values()) & set(processes(home).values())


def test_another_kind_is_not_taken_for_the_one_that_runs(armada, built):
    armada("up", *named_postgres(built))
    other = armada("up", "processes", *named_postgres(built))
    assert other.returncode == 1
    assert "which is another kind: localdev/armada down first" in other.stderr


def test_one_process_is_restarted(armada, built, home):
    armada("up", *named_postgres(built))
    before = processes(home)
    assert armada("restart", "eventingester").returncode == 0
    after = processes(home)
    assert {name for name in before if before[name] != after[name]} == {"eventingester"}
    assert armada("status").returncode == 0


def test_logs_are_those_of_each_process(armada, built):
    armada("up", *named_postgres(built))
    assert "==> scheduler\n" in armada("logs").stdout
    assert armada("logs", "server").returncode == 0
    assert "no nothing runs" in armada("logs", "nothing").stderr


def test_what_ends_early_is_told_with_its_last_words_and_nothing_stays(armada, built, home):
    broken = home / "built" / "scheduleringester"
    broken.write_text("#!/bin/sh\necho no database >&2\nexit 3\n")
    up = armada("up", *named_postgres(built))
    assert up.returncode == 1
    assert "scheduleringester has ended:\nno database" in up.stderr
    assert list((home / "state").iterdir()) == []


def test_each_program_is_told_where_the_others_are(armada, built, home):
    armada("up", *named_postgres(built))
    told = (home / "state" / "armada" / "conf" / "scheduler.yaml").read_text()
    assert "pulsar://127.0.0.1:" in told
    assert "password: word" in told
    (migration,) = [line for line in notes(home) if "migrateDatabase" in line and "sched" in line]
    assert migration.startswith("scheduler migrateDatabase --config _local/scheduler/config.yaml")
    conf = (home / "state" / "armada" / "pulsar" / "standalone.conf").read_text()
    assert "webServicePort=8080" not in conf
    assert "kept=1" in conf


def test_stores_that_are_missing_are_named_with_the_remedy(armada, checkout, home):
    programs = stand_in(home / "built", *BUILT)
    words = ("--checkout", checkout, "--bin", programs, "--port", 0, "--redis", "/no/redis")
    up = armada("up", *words)
    assert up.returncode == 1
    assert up.stderr.startswith("Error: not found:\n")
    assert "Pulsar: name its directory with --pulsar DIR\n" in up.stderr
    assert "name the program with --redis PATH; /no/redis is none" in up.stderr


def test_a_directory_with_other_things_is_left_as_it_is(armada, built, home):
    kept = home / "state" / "armada" / "thesis.tex"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    up = armada("up", *built)
    assert up.returncode == 1
    assert "holds other things, which would be removed: choose another --state" in up.stderr
    assert kept.read_text() == "mine"


def test_a_directory_that_cannot_be_made_is_named(armada, built, home):
    (home / "state").mkdir()
    (home / "state" / "armada").symlink_to("nowhere")
    up = armada("up", *built)
    assert up.returncode == 1
    assert up.stderr == f"Error: {home}/state/armada cannot be made: File exists\n"


def test_programs_that_are_missing_are_named_with_how_to_build_them(armada, built, home):
    (home / "built" / "fakeexecutor").unlink()
    up = armada("up", *built)
    assert up.returncode == 1
    assert f"go build -o {home / 'built'}/ ./cmd/fakeexecutor" in up.stderr


@pytest.mark.parametrize(
    ("kind", "words"),
    [("full", "full is mage's: leave --bin out"), ("no-auth", "needs a Kubernetes: --kubeconfig")],
)
def test_kinds_that_built_programs_have_not(armada, built, kind, words):
    up = armada("up", kind, *built)
    assert up.returncode == 1
    assert words in up.stderr
