"""``localdev/armada``, with stand-ins for every program that it starts."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from localdev.armada_state import load
from localdev.common import free_port
from tests.localdev.armada_stand_ins import NOTES

pytestmark = pytest.mark.timeout(600)  # a dozen processes of Python each

REPO = Path(__file__).parents[2]
SCRIPT = REPO / "localdev" / "armada"
ARMADAS = ("server", "scheduler", "scheduleringester", "eventingester", "lookoutingester")
BUILT = (*ARMADAS, "lookout", "fakeexecutor", "executor", "binoculars")
STAND_IN = """#!/bin/sh
PYTHONPATH={repo}:{repo}/drivers exec {python} -m tests.localdev.armada_stand_ins {name} "$@"
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def stand_in(folder: Path, *names: str) -> Path:
    """A directory with programs of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        program = folder / name
        program.write_text(STAND_IN.format(repo=REPO, python=sys.executable, name=name))
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place whose ``bin`` is the PATH, with the shell's own programs and no other."""
    os_programs = tmp_path / "os"
    os_programs.mkdir()
    for name in ("sh", "dirname", "git", "env"):
        (os_programs / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os_programs}")
    monkeypatch.setenv(NOTES, str(tmp_path / "notes"))
    monkeypatch.setenv("PULSAR_HOME", str(tmp_path / "pulsar"))
    (tmp_path / "notes").touch(0o666)
    return tmp_path


@pytest.fixture
def armada(home: Path) -> Iterator[Run]:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [SCRIPT, "--state", home / "state" / "armada", *words]
        env = {**os.environ, "PYTHON": sys.executable}
        return subprocess.run(
            [str(word) for word in command], env=env, capture_output=True, text=True, timeout=300
        )

    yield run
    run("down")


@pytest.fixture
def checkout(home: Path) -> Path:
    """A checkout of an Armada that has dev.go, whose server has a port of its own."""
    checkout = home / "checkout"
    config = checkout / "_local" / "server" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(f"grpcPort: {free_port()}\n")
    (checkout / "magefiles").mkdir()
    (checkout / "magefiles" / "dev.go").touch()
    return checkout


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
def docker(home: Path) -> None:
    """Docker answers, and Go and mage are there."""
    stand_in(home / "bin", "docker", "go", "mage")


def notes(home: Path) -> list[str]:
    """How the stand-ins were called."""
    return (home / "notes").read_text().splitlines()


def processes(home: Path) -> dict[str, int]:
    """The pids of what was started."""
    stack = load(home / "state" / "armada")
    assert stack is not None
    return {name: process.pid for name, process in stack.processes.items()}


# -- from programs ---------------------------------------------------------------------------


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
    up = armada("up", "--checkout", checkout, "--bin", programs, "--port", 0)
    assert up.returncode == 1
    assert "Pulsar: name its directory with --pulsar DIR" in up.stderr
    assert "apt install redis-server" in up.stderr


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


# -- from a checkout with mage ---------------------------------------------------------------


@pytest.mark.usefixtures("docker")
def test_mage_runs_the_profile_and_is_taken_down(armada, checkout, home):
    up = armada("up", "--checkout", checkout)
    assert up.returncode == 0, up.stderr
    pid = processes(home)["mage"]
    assert "mage dev:up fake-executor" in notes(home)
    down = armada("down")
    assert down.returncode == 0
    remove = "docker compose -f _local/compose/stack.yaml rm --stop --force --volumes"
    assert notes(home)[-2:] == [remove, "mage dev:down"]
    assert "mage tells what it does" in down.stderr
    assert {line.split()[0] for line in down.stdout.splitlines()} == {"unset"}
    assert not psutil.pid_exists(pid)
    assert list((home / "state").iterdir()) == []


@pytest.mark.usefixtures("docker")
def test_another_armada_is_not_taken_for_the_one_of_the_checkout(armada, checkout, home):
    config = checkout / "_local" / "server" / "config.yaml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        config.write_text(f"grpcPort: {other.getsockname()[1]}\n")
        up = armada("up", "--checkout", checkout)
    assert up.returncode == 1
    assert "something else listens at localhost:" in up.stderr
    assert notes(home) == []


MAGE_TELLS_PLACE = """#!{python}
import os, sys
if sys.argv[1] == "-version":
    sys.exit(print("Mage Build Tool v1.17.2"))
with open({file!r}, "a") as file:
    print(*sys.argv[1:], os.environ["PWD"], file=file)
sys.exit(1)
"""


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize(
    ("kind", "up", "down"),
    [
        ("fake-executor", "dev:up fake-executor", "dev:down"),
        ("full", "dev:full", "dev:fullDown"),
    ],
)
def test_mage_is_told_that_it_is_in_the_checkout(armada, checkout, home, kind, up, down):
    stand_in(home / "bin", "kind")
    told = home / "told"
    mage = MAGE_TELLS_PLACE.format(python=sys.executable, file=str(told))
    (home / "bin" / "mage").write_text(mage)
    assert armada("up", kind, "--checkout", checkout).returncode == 1
    assert told.read_text().splitlines() == [f"{up} {checkout}", f"{down} {checkout}"]


@pytest.mark.usefixtures("docker")
def test_a_cluster_is_made_for_no_auth_and_removed(armada, checkout, home):
    stand_in(home / "bin", "kind")
    up = armada("up", "no-auth", "--checkout", checkout)
    assert up.returncode == 0, up.stderr
    assert "BATCHBRIDGE_ARMADA_BINOCULARS=localhost:50053" in up.stdout
    armada("down")
    mages = [line for line in notes(home) if line.startswith("mage ") and "version" not in line]
    assert mages == ["mage kind", "mage dev:up no-auth", "mage dev:down", "mage kindTeardown"]


@pytest.mark.usefixtures("docker")
def test_an_older_checkout_has_other_targets(armada, checkout, home):
    (checkout / "magefiles" / "dev.go").unlink()
    refused = armada("up", "fake-executor", "--checkout", checkout)
    assert "older than v0.21.4, which has minimal, full, but no fake-executor" in refused.stderr

    stand_in(home / "bin", "kind")
    with_server = home / "bin" / "mage"
    with_server.write_text(
        "#!/bin/sh\n"
        f'echo "mage $*" >> {home / "notes"}\n'
        'case "$*" in *minimal) echo building; exit 1 ;; esac\n'
        "echo Mage Build Tool 1.16.0\n"
    )
    failed = armada("up", "minimal", "--checkout", checkout)
    assert "mage localDev minimal failed:\nbuilding" in failed.stderr
    assert notes(home)[-1] == "mage localDevStop"


def test_everything_that_mage_would_miss_is_named_with_the_remedy(armada, checkout):
    up = armada("up", "no-auth", "--checkout", checkout)
    assert up.returncode == 1
    for remedy in ("https://go.dev/dl", "docker.io", "--bin DIR", "go install sigs.k8s.io/kind"):
        assert remedy in up.stderr


def test_docker_counts_only_where_its_daemon_answers(armada, checkout, home):
    stand_in(home / "bin", "go", "mage")
    docker = home / "bin" / "docker"
    docker.write_text("#!/bin/sh\ntest $1 != info\n")
    docker.chmod(0o755)
    assert "whose daemon answers `docker info`" in armada("up", "--checkout", checkout).stderr


@pytest.mark.usefixtures("docker")
def test_go_stands_in_for_a_mage_that_is_too_old(armada, checkout, home):
    stand_in(home / "bin", "go")
    (home / "bin" / "mage").write_text("#!/bin/sh\necho Mage Build Tool v1.15.0\n")
    up = armada("up", "--checkout", checkout)
    assert "mage has ended" in up.stderr  # the stand-in for go runs nothing
    assert "go run github.com/magefile/mage@v1.17.2 dev:up fake-executor" in notes(home)


def test_what_is_no_checkout_is_said(armada, home):
    assert "it has no magefiles" in armada("up", "--checkout", home).stderr
