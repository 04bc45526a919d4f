"""``localdev/nomad``, run as a developer runs it: with a stand-in, and with the real program."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from localdev import nomad_config
from localdev.nomad_agent import load
from localdev.nomad_config import Agent, Features, Place
from localdev.processes import ServerProcess
from tests.localdev.stand_in import VERSION, install

REPO = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with settings of the user's own, and a ``nomad`` that is a stand-in."""
    config = tmp_path / "config" / "batchbridge" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[profile.mine]\nbackend = "local"\n')
    (tmp_path / "tmp").mkdir()
    (tmp_path / "bin").mkdir()
    install(tmp_path / "bin")
    docker = tmp_path / "bin" / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    return tmp_path


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    """Of a developer's shell, with what an agent cannot bear in it."""
    return {
        **os.environ,
        "PYTHON": sys.executable,
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(home / "config"),
        "TMPDIR": str(home / "tmp"),
        "AWS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt",
    }


@pytest.fixture
def nomad(home: Path, env: dict[str, str]) -> Iterator[Run]:
    """``localdev/nomad WORDS``."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(REPO / "localdev" / "nomad"), "--state", str(home / "state" / "it"), *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)

    yield run
    run("down")


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.live)])
def program(request: pytest.FixtureRequest, home: Path) -> str:
    """What is given to --nomad."""
    if request.param == "stand-in":
        return str(home / "bin" / "nomad")
    found = shutil.which("nomad")
    if found is None:
        pytest.skip("there is no nomad on PATH")
    return found


def the_agent(home: Path) -> Agent:
    found = load(home / "state" / "it")
    assert found is not None
    return found


def crash(home: Path) -> None:
    """End the agent as a crash would: its jobs go on."""
    agent = the_agent(home).process.find()
    assert agent is not None
    agent.kill()
    psutil.wait_procs([agent])


def in_its_shell(up: subprocess.CompletedProcess[str], script: str, env: dict[str, str]) -> str:
    """What that script prints after ``eval "$(localdev/nomad up)"``."""
    assert up.returncode == 0, up.stderr
    done = subprocess.run(
        ["sh", "-e"], input=up.stdout + script, env=env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SUBMIT = f"""
{sys.executable} -m batchbridge submit --profile localdev-nomad --follow -- echo hello
"""


@pytest.mark.parametrize("features", [(), ("--acl",)], ids=["plain", "acl"])
def test_a_job_runs_by_its_profile_and_down_leaves_nothing(nomad, program, features, home, env):
    up = nomad("up", "--nomad", program, "--port", "0", *features)
    assert in_its_shell(up, SUBMIT, env) == "hello\n"
    agent = the_agent(home)
    assert nomad("status").stdout == f"{agent}\n"
    process = agent.process.find()
    assert process is not None
    family = [process, *process.children(recursive=True)]

    assert nomad("down").returncode == 0
    assert not [one for one in family if one.is_running()]
    assert [*(home / "state").iterdir(), *(home / "tmp").iterdir()] == []
    assert nomad("status").returncode == 1


@pytest.mark.live
@pytest.mark.parametrize("program", ["real"], indirect=True)
def test_with_tls_the_certificates_lead_there(nomad, program, home, env):
    up = nomad("up", "--nomad", program, "--port", "0", "--acl", "--tls")
    assert in_its_shell(up, SUBMIT, env) == "hello\n"
    assert the_agent(home).address.startswith("https://")
    path = {"PATH": f"{Path(program).parent}:{env['PATH']}"}
    assert "batchbridge" in in_its_shell(up, "nomad acl token self\n", {**env, **path})


@pytest.mark.live
@pytest.mark.parametrize("program", ["real"], indirect=True)
def test_down_after_a_crash_ends_the_jobs_too(nomad, program, home, env):
    up = nomad("up", "--nomad", program, "--port", "0")
    submit = f"{sys.executable} -m batchbridge submit --profile localdev-nomad --command"
    in_its_shell(up, f"{submit} 'echo $$ >{home}/pid; exec sleep 3456'\n", env)
    deadline = time.monotonic() + 60
    while not ((home / "pid").exists() and (home / "pid").read_text()):
        assert time.monotonic() < deadline, "the job does not start"
        time.sleep(0.1)
    job = psutil.Process(int((home / "pid").read_text()))
    crash(home)
    assert job.is_running()

    assert nomad("down").returncode == 0
    assert not job.is_running()
    assert list((home / "state").iterdir()) == []


@pytest.mark.live
@pytest.mark.parametrize("program", ["real"], indirect=True)
def test_it_listens_on_the_loopback_only(nomad, program, home):
    assert nomad("up", "--nomad", program, "--port", "0").returncode == 0
    process = the_agent(home).process.find()
    assert process is not None
    family = [process, *process.children(recursive=True)]
    listening = {c.laddr.ip for p in family for c in p.net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}


def test_up_again_finds_the_same_agent(nomad, home):
    first = nomad("up", "--port", "0")
    agent = the_agent(home)
    assert agent.version == VERSION
    again = nomad("up", "--port", "0")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert the_agent(home) == agent


def test_an_agent_of_another_kind_is_not_taken_for_it(nomad):
    assert nomad("up", "--port", "0").returncode == 0
    refused = nomad("up", "--port", "0", "--acl")
    assert refused.returncode == 1
    assert "localdev/nomad down first" in refused.stderr


def test_tokens_are_for_their_owner_alone(nomad, home):
    assert nomad("up", "--port", "0", "--acl").returncode == 0
    place = the_agent(home).place
    for file in (place.token, place.management, place.profile):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert place.token.read_text() != place.management.read_text()
    assert place.token.read_text() not in place.profile.read_text()


SHOW = f"""
{sys.executable} -m batchbridge config >/dev/null
echo "$NOMAD_ADDR $METAFLOW_NOMAD_DRIVER $METAFLOW_DATASTORE_SYSROOT_LOCAL"
"""


def test_what_up_prints_is_for_the_shell_and_what_down_prints_takes_it_back(nomad, home, env):
    up = nomad("up", "--port", "0")
    place = home / "state" / "it"
    said = in_its_shell(up, SHOW, env)
    assert said == f"{the_agent(home).address} raw_exec {place}/datastore\n"
    assert (home / "config/batchbridge/config.toml").read_text() == (
        '[profile.mine]\nbackend = "local"\n'
    )
    after = in_its_shell(up, f"{nomad('down').stdout}\nenv", env)
    assert str(place) not in after
    assert "METAFLOW_NOMAD_DRIVER" not in after


def test_other_files_of_settings_stay_listed(nomad, home, env):
    env["BATCHBRIDGE_CONFIG"] = "/another/config.toml"
    up = nomad("up", "--port", "0")
    mine = home / "state" / "it" / "config.toml"
    shown = 'echo "$BATCHBRIDGE_CONFIG"\n'
    assert in_its_shell(up, shown, env) == f"{mine}:/another/config.toml\n"
    after = in_its_shell(up, nomad("down").stdout + shown, env)
    assert after == "/another/config.toml\n"


def test_a_program_that_is_not_there_is_named(nomad):
    refused = nomad("up", "--nomad", "/no/such/nomad")
    assert refused.returncode == 1
    assert "install Nomad, or name it with --nomad PATH" in refused.stderr


def test_a_taken_port_is_said(nomad):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = nomad("up", "--port", port)
    assert refused.returncode == 1
    assert f"port {port} is taken" in refused.stderr


@pytest.mark.parametrize("verb", ["up", "down"])
def test_a_directory_of_somebody_elses_is_left_alone(home, env, verb):
    """It would be removed, and whatever works in it be killed."""
    (home / "theirs").mkdir()
    kept = home / "theirs" / "thesis"
    kept.write_text("chapter 1")
    for state in (kept.parent, kept):
        command = [str(REPO / "localdev" / "nomad"), "--state", str(state), verb]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
        assert (done.returncode, done.stdout) == (1, "")
        assert "--state" in done.stderr
        assert "Traceback" not in done.stderr
    assert kept.read_text() == "chapter 1"


@pytest.mark.parametrize("words", [("--port", "99999"), ("--port", "-1")])
def test_a_port_that_is_none_is_said(nomad, words):
    done = nomad("up", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "0<=x<=65535" in done.stderr


def test_a_state_that_cannot_be_is_said(env):
    command = [str(REPO / "localdev" / "nomad"), "--state", "/dev/null/x", "up"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr == "Error: /dev/null/x cannot be made: File exists\n"


def test_an_agent_that_does_not_start_says_why_and_is_gone(nomad, home):
    (home / "bin" / "nomad").write_text(
        '#!/bin/sh\ntest "$1" = version || { echo "no such thing"; exit 1; }\n'
    )
    refused = nomad("up", "--port", "0")
    assert refused.returncode == 1
    assert "no such thing" in refused.stderr
    assert load(home / "state" / "it") is None


def test_an_up_that_is_interrupted_leaves_no_agent_behind(home, env):
    """One that does not answer yet."""
    slow = home / "bin" / "slow"
    slow.write_text("#!/bin/sh\n[ $1 = version ] && exec echo slow\nexec sleep 100\n")
    slow.chmod(0o755)
    place = Place(home / "state" / "it")
    command = [str(REPO / "localdev" / "nomad"), "--state", str(place.root), "up", "--port", "0"]
    with subprocess.Popen([*command, "--nomad", str(slow)], env=env) as up:
        deadline = time.monotonic() + 60
        while (agent := load(place.root)) is None:
            assert time.monotonic() < deadline, "no agent is started"
            time.sleep(0.1)
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 1
    assert agent.process.find() is None
    assert not place.root.exists()


def test_a_program_without_certificates_is_said_to_be(nomad):
    refused = nomad("up", "--port", "0", "--tls")
    assert refused.returncode == 1
    assert "tls ca create failed: the stand-in has no tls ca create" in refused.stderr


def test_logs_are_what_the_agent_wrote(nomad):
    assert nomad("logs").returncode == 1
    nomad("up", "--port", "0")
    assert "==> Nomad agent started!" in nomad("logs").stdout


def test_what_an_agent_wrote_before_it_ended_by_itself_is_there_to_read(nomad, home):
    nomad("up", "--port", "0")
    crash(home)
    status = nomad("status")
    assert status.returncode == 1
    assert "it ended by itself; localdev/nomad logs" in status.stderr
    assert "==> Nomad agent started!" in nomad("logs").stdout
    nomad("down")
    assert "not running" in nomad("status").stderr


def test_a_pid_that_was_given_to_another_process_is_left_alone(nomad, home):
    other = subprocess.Popen(["sleep", "100"])
    try:
        place = Place(home / "state" / "it")
        for directory in (place.datastore, place.tls):
            directory.mkdir(parents=True)
        process = ServerProcess(other.pid, started=1.0)
        stale = Agent(str(place.root), "http://127.0.0.1:1", "gone", Features(), process)
        place.record.write_bytes(msgspec.json.encode(stale))
        assert nomad("status").returncode == 1
        assert "was not running" in nomad("down").stderr
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_docker_is_offered_only_where_its_daemon_answers():
    assert "driver.denylist" in nomad_config.options(Features())
    assert "driver.denylist" not in nomad_config.options(Features(docker=True))


def test_nothing_of_a_developers_environment_reaches_the_agents_jobs():
    kept = nomad_config.inherited({"PATH": "/bin", "AWS_CA_BUNDLE": "x", "METAFLOW_USER": "x"})
    assert kept == {"PATH": "/bin"}
