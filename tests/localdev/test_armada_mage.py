"""``localdev/armada`` from a checkout by mage, with stand-ins for it and for Docker."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from localdev.armada_state import Command, Keeper, Stack
from tests.localdev.conftest import notes, processes, stand_in

pytestmark = pytest.mark.timeout(600)  # a dozen processes of Python each


@pytest.fixture
def docker(home: Path) -> None:
    """Docker answers, and Go and mage are there."""
    stand_in(home / "bin", "docker", "go", "mage")


@pytest.mark.usefixtures("docker")
def test_mage_runs_the_profile_and_is_taken_down(armada, checkout, home):
    up = armada("up", "--checkout", checkout)
    assert up.returncode == 0, up.stderr
    pid = processes(home)["mage"]
    assert "mage dev:up fake-executor" in notes(home)
    down = armada("down")
    assert down.returncode == 0
    remove = "docker compose -f _local/compose/stack.yaml down --volumes"
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
    assert "is taken; this Armada would listen there: end what does" in up.stderr
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


DOCKER_TELLS_PORTS = """#!/bin/sh
case "$*" in
  *--no-deps*) read -r ports < "$5"; echo "$*" > {told}; echo "$ports" >> {told}; exit 1 ;;
esac
"""


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize(
    ("containers", "configs"),
    [("_local/compose/full.yaml", "_local"), ("docker-compose.yaml", "config")],
)
def test_the_port_of_logs_that_are_in_a_container_is_published(
    armada, checkout, home, containers, configs
):
    if configs == "config":
        make_older(checkout)
    stand_in(home / "bin", "kind")
    told = home / "told"
    (home / "bin" / "docker").write_text(DOCKER_TELLS_PORTS.format(told=told))
    binoculars = checkout / configs / "binoculars" / "config.yaml"
    binoculars.parent.mkdir()
    binoculars.write_text("grpcPort: 1234\n")
    assert "binoculars failed" in armada("up", "full", "--checkout", checkout).stderr
    words, ports = told.read_text().splitlines()
    file = home / "state" / "armada" / "ports.yaml"
    assert words == f"compose -f {containers} -f {file} up --detach --no-deps binoculars"
    assert yaml.safe_load(ports) == {
        "services": {"binoculars": {"ports": ["127.0.0.1:50053:1234"]}}
    }


@pytest.fixture
def contained(home: Path) -> Iterator[socket.socket]:
    """The server of an Armada whose parts are containers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        (home / "state").mkdir()
        address = f"localhost:{server.getsockname()[1]}"
        keeper = Keeper.new(home / "state" / "armada", Stack("full", "v1", address, "", "q"))
        logs = Command(("docker", "compose", "logs"), str(home))
        keeper.update(containers=logs, ready=True)
        yield server


def test_an_armada_of_containers_is_whole_while_its_server_listens(armada, contained):
    assert armada("status").returncode == 0
    contained.close()
    status = armada("status")
    assert status.returncode == 1
    assert "is not whole: localdev/armada up" in status.stderr


@pytest.mark.usefixtures("docker", "contained")
def test_the_logs_of_containers_are_asked_of_docker(armada, home):
    assert armada("logs", "server", "--lines", "5").returncode == 0
    assert notes(home) == ["docker compose logs --tail 5 server"]
    (home / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")
    assert "no nobody runs" in armada("logs", "nobody").stderr


def make_older(checkout: Path) -> None:
    """Let it have no dev.go, and its configuration where it was before that."""
    (checkout / "magefiles" / "dev.go").unlink()
    (checkout / "_local").rename(checkout / "config")


@pytest.mark.usefixtures("docker")
def test_an_older_checkout_has_other_targets(armada, checkout, home):
    make_older(checkout)
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


MAGE_THAT_GOES_ON = """#!/bin/sh
case "$*" in
  -version) echo Mage Build Tool v1.17.2 ;;
  dev:up*) echo "mage $*" >> {notes}; exec /bin/sleep 600 ;;
esac
"""


def test_nobody_waits_for_an_armada_whose_docker_is_gone(armada, checkout, home):
    stand_in(home / "bin", "go", "docker", "mage")
    (home / "bin" / "mage").write_text(MAGE_THAT_GOES_ON.format(notes=home / "notes"))
    (home / "bin" / "docker").write_text(f"#!/bin/sh\n! /bin/grep -q dev:up {home / 'notes'}\n")
    up = armada("up", "--checkout", checkout)
    assert up.returncode == 1
    assert "Docker's daemon no longer answers `docker info`" in up.stderr


@pytest.mark.usefixtures("docker")
def test_go_stands_in_for_a_mage_that_is_too_old(armada, checkout, home):
    stand_in(home / "bin", "go")
    (home / "bin" / "mage").write_text("#!/bin/sh\necho Mage Build Tool v1.15.0\n")
    up = armada("up", "--checkout", checkout)
    assert "mage has ended" in up.stderr  # the stand-in for go runs nothing
    assert "go run github.com/magefile/mage@v1.17.2 dev:up fake-executor" in notes(home)


def test_what_is_no_checkout_is_said(armada, home):
    assert "it has no magefiles" in armada("up", "--checkout", home).stderr
