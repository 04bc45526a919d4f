"""What is sent to Nomad, and what its script does when it is run."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from batchbridge.errors import SpecError
from batchbridge.fields import options_from
from batchbridge.model import JobSpec, Secret, Submission
from batchbridge.uploads import deliver, pack
from batchbridge_nomad import jobspec, script
from batchbridge_nomad.jobspec import Site, job_id
from batchbridge_nomad.settings import NomadOptions, NomadSettings

SITE = Site("team", "", 1000)


def submission(key="key", secrets=(), files=None, **fields):
    spec = JobSpec.parse({"command": ["true"], "name": "probe", **fields})
    hidden = {name: Secret("hidden") for name in secrets}
    return Submission(key, spec, "set", "me", files=files, secrets=hidden)


def job(**fields):
    given = submission(**fields)
    return jobspec.payload(given, options_from(NomadOptions, given.spec.options), SITE)["Job"]


def group(**fields):
    return job(**fields)["TaskGroups"][0]


def task(**fields):
    return group(**fields)["Tasks"][0]


def test_it_is_registered_only_where_it_is_not_there():
    sent = jobspec.payload(submission(), NomadOptions(), SITE)
    assert (sent["EnforceIndex"], sent["JobModifyIndex"]) == (True, 0)


@pytest.mark.parametrize("key", ["plain-key_1.2", "with space", "a/b:c", "ü", "x" * 300])
def test_an_id_is_safe_and_one_key_is_one_id(key):
    """Wherever it stands: in paths, in filters, and in the path of a variable, which has no dot."""
    made = job_id(key)
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert len(made) <= 120
    assert made == job_id(key) != job_id(key + "x")


def test_nomad_runs_it_once_as_far_as_it_can():
    made = group()
    assert made["RestartPolicy"]["Attempts"] == made["ReschedulePolicy"]["Attempts"] == 0
    assert made["Tasks"][0]["RestartPolicy"] == made["RestartPolicy"]
    assert made["Disconnect"]["Replace"] is False
    assert "Disconnect" not in group(reruns=True)


def test_what_is_not_asked_for_is_nomads_default():
    made = job()
    assert not {"Region", "NodePool", "Priority", "Constraints"} & made.keys()
    assert "Resources" not in task()


def test_meta_says_whose_job_it_is_and_what_it_may():
    meta = job(labels={"team": "ml"}, reruns=True, timeout="90s", secrets=["TOKEN"])["Meta"]
    assert meta.pop("batchbridge_digest")
    assert meta == {
        "team": "ml",
        "batchbridge_key": "key",
        "batchbridge_job_set": "set",
        "batchbridge_user": "me",
        "batchbridge_reruns": "true",
        "batchbridge_secrets": "true",
        "batchbridge_timeout": "90",
    }


def test_a_label_is_not_taken_for_what_we_say():
    with pytest.raises(SpecError, match="batchbridge_user"):
        job(labels={"batchbridge_user": "root"})


@pytest.mark.parametrize(
    ("asked", "resources"),
    [
        ({"cpu": 2}, {"CPU": 2000}),
        ({"cpu": 0.25}, {"CPU": 250}),
        ({"cpu": 2, "options": {"cores": "3"}}, {"Cores": 3}),
        ({"cpu": 2, "options": {"cpu_mhz": "700"}}, {"CPU": 700}),
        ({"memory": "1G"}, {"MemoryMB": 1024}),
        ({"memory": 1}, {"MemoryMB": 1}),
        (
            {"memory": "1G", "options": {"memory_max": "2G"}},
            {"MemoryMB": 1024, "MemoryMaxMB": 2048},
        ),
        (
            {"gpu": 2, "options": {"device": "nvidia/gpu"}},
            {"Devices": [{"Name": "nvidia/gpu", "Count": 2}]},
        ),
    ],
)
def test_resources(asked, resources):
    assert task(**asked)["Resources"] == resources


def test_a_disk_is_the_commands_own_beside_its_logs():
    logs = task()["LogConfig"]
    kept = logs["MaxFiles"] * logs["MaxFileSizeMB"]
    assert group(disk="1G")["EphemeralDisk"]["SizeMB"] == 1024 + kept
    assert group()["EphemeralDisk"]["SizeMB"] > kept


@pytest.mark.parametrize(
    ("asked", "driver"),
    [
        ({}, "exec"),
        ({"image": "debian:12"}, "docker"),
        ({"image": "debian:12", "options": {"driver": "podman"}}, "podman"),
        ({"options": {"driver": "raw_exec"}}, "raw_exec"),
    ],
)
def test_task_driver(asked, driver):
    assert task(**asked)["Driver"] == driver


@pytest.mark.parametrize(
    "asked",
    [
        {"image": "debian:12", "options": {"driver": "exec"}},
        {"options": {"driver": "docker"}},
    ],
)
def test_an_image_and_a_task_driver_that_do_not_go_together(asked):
    with pytest.raises(SpecError) as caught:
        task(**asked)
    assert caught.value.path == "image"
    assert caught.value.remedy


@pytest.mark.parametrize("driver", ["exec", "raw_exec"])
def test_shared_memory_of_a_task_driver_that_has_none_is_refused(driver):
    with pytest.raises(SpecError, match=driver) as caught:
        task(options={"driver": driver, "shm_size": "64M"})
    assert caught.value.path == "options.shm_size"


def test_a_containers_own_configuration_is_passed_through_under_ours():
    config = {"auth": {"username": "u"}, "init": False, "image": "other"}
    made = task(image="debian:12", options={"config": config, "shm_size": "64M"})["Config"]
    assert made == {
        "auth": {"username": "u"},
        "init": False,
        "image": "debian:12",
        "entrypoint": ["/bin/sh"],
        "args": ["${NOMAD_TASK_DIR}/run.sh"],
        "shm_size": 64 << 20,
    }


@pytest.mark.parametrize("driver", ["docker", "podman"])
def test_a_password_for_a_registry_is_filled_in_by_the_node(driver):
    """The job, which many may read, holds its name alone."""
    auth = {"username": "u", "password": "${REGISTRY_PASSWORD}"}
    options = {"driver": driver, "config": {"auth": auth, "auth_soft_fail": False}}
    made = task(image="registry/x:1", secrets=["REGISTRY_PASSWORD"], options=options)
    assert made["Config"]["auth"] == auth
    assert made["Templates"][1]["Envvars"] is True


@pytest.mark.parametrize("auth", [{"password": "plain"}, [{"password": "a${B}"}]])
def test_a_password_that_would_stand_in_the_job_is_refused(auth):
    with pytest.raises(SpecError) as caught:
        task(image="x", options={"config": {"auth": auth}})
    assert "plain" not in str(caught.value)
    assert "REGISTRY_PASSWORD" in caught.value.remedy


def test_podmans_own_configuration_is_passed_through_under_ours():
    config = {"volumes": ["/data:/data"], "network_mode": "host", "memory_swap": "180m"}
    options = {"driver": "podman", "config": config, "shm_size": "64M"}
    made = task(image="docker://debian:12", options=options)["Config"]
    assert made == {
        **config,
        "init": True,
        "image": "docker://debian:12",
        "entrypoint": ["/bin/sh"],
        "args": ["${NOMAD_TASK_DIR}/run.sh"],
        "shm_size": f"{64 << 20}b",
    }


def test_placing_in_nomads_words():
    linux = {"attribute": "${attr.kernel.name}", "operator": "=", "value": "linux"}
    options = {
        "constraints": [linux],
        "affinities": [{"attribute": "${node.class}", "value": "fast", "weight": 80}],
        "spreads": [{"attribute": "${node.datacenter}", "targets": {"dc1": 70}}],
        "datacenters": "dc1,dc2",
        "node_pool": "gpu",
        "priority": "70",
    }
    made = job(options=options)
    assert made["Constraints"] == [
        {"LTarget": "${attr.kernel.name}", "RTarget": "linux", "Operand": "="}
    ]
    assert made["Affinities"][0]["Weight"] == 80
    assert made["Spreads"][0]["SpreadTarget"] == [{"Value": "dc1", "Percent": 70}]
    assert (made["Datacenters"], made["NodePool"]) == (["dc1", "dc2"], "gpu")
    assert made["Priority"] == 70


def test_volumes_and_ports():
    options = {
        "volumes": [{"source": "data", "path": "/data", "read_only": True}],
        "ports": [{"label": "http", "to": 80}, {"label": "ssh", "static": 2222}],
        "network": "bridge",
    }
    made = group(options=options)
    assert made["Volumes"] == {"volume0": {"Type": "host", "Source": "data", "ReadOnly": True}}
    (mount,) = made["Tasks"][0]["VolumeMounts"]
    assert mount == {"Volume": "volume0", "Destination": "/data", "ReadOnly": True}
    assert made["Networks"] == [
        {
            "Mode": "bridge",
            "ReservedPorts": [{"Label": "ssh", "Value": 2222, "To": 0}],
            "DynamicPorts": [{"Label": "http", "To": 80}],
        }
    ]


def test_a_volume_of_csi():
    volume = {
        "source": "data",
        "path": "/data",
        "type": "csi",
        "access_mode": "single-node-writer",
        "attachment_mode": "file-system",
    }
    made = group(options={"volumes": [volume]})
    assert made["Volumes"]["volume0"] == {
        "Type": "csi",
        "Source": "data",
        "ReadOnly": False,
        "AccessMode": "single-node-writer",
        "AttachmentMode": "file-system",
    }
    assert made["Tasks"][0]["VolumeMounts"][0]["Destination"] == "/data"


def test_a_device_with_what_it_must_have():
    large = {"attribute": "${device.attr.memory}", "operator": ">=", "value": "40 GiB"}
    options = {"device": "nvidia/gpu/A100", "device_constraints": [large]}
    assert task(gpu=2, options=options)["Resources"]["Devices"] == [
        {
            "Name": "nvidia/gpu/A100",
            "Count": 2,
            "Constraints": [
                {"LTarget": "${device.attr.memory}", "RTarget": "40 GiB", "Operand": ">="}
            ],
        }
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"cores": 1, "cpu_mhz": 1},
        {"cores": 0},
        {"cpu_mhz": -1},
        {"priority": 101},
        {"constraints": [{"value": "x"}]},
        {"constraints": [{"attribute": "attr.kernel.name", "value": "linux"}]},
        {"affinities": [{"attribute": "node.class", "value": "fast"}]},
        {"affinities": [{"attribute": "${node.class}", "value": "fast", "weight": 500}]},
        {"spreads": [{"attribute": "${node.datacenter}", "weight": -1}]},
    ],
)
def test_options_that_cannot_be_meant(options):
    with pytest.raises(SpecError):
        options_from(NomadOptions, options)


@pytest.mark.parametrize(
    "constraint",
    [
        {"attribute": "", "operator": "distinct_hosts", "value": "true"},
        {"attribute": "linux", "value": "${attr.kernel.name}"},
        {"attribute": "${attr.driver.docker.version}", "operator": "is_set"},
    ],
)
def test_constraints_that_can_be_meant(constraint):
    assert options_from(NomadOptions, {"constraints": [constraint]})


@pytest.mark.parametrize(
    "fields",
    [
        {"address": "localhost:4646"},
        {"address": "http://127.0.0.1:abc"},
        {"address": "http://127.0.0.1:99999"},
        {"address": "http://127.0.0.1:0"},
        {"address": "http://[::1"},
        {"address": "https://"},
        {"address": "http://127.0.0.1:4646?token=x"},
        {"address": "http://127.0.0.1:4646/#/jobs"},
        {"address": "unix://"},
        {"client_cert": "cert.pem"},
        {"mhz_per_core": 0},
        {"request_timeout": 0},
    ],
)
def test_settings_that_cannot_be_meant(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        NomadSettings(**fields)


@pytest.mark.parametrize(
    "address",
    ["http://u:s3cret@host:4646", "u:s3cret@host:4646", "https://u:s3cret/x@host", "http://t@host"],
)
def test_a_password_in_the_address_is_refused_and_not_shown(address):
    with pytest.raises(ValueError, match="http_auth, NOMAD_HTTP_AUTH") as caught:
        NomadSettings(address=address)
    assert "s3cret" not in str(caught.value)


def test_the_path_of_a_socket_may_hold_anything():
    address = "unix:///run/nomad@1/api:x.sock"
    assert NomadSettings(address=address).address == address


def test_a_secret_is_named_and_not_shown():
    shown = str(jobspec.payload(submission(secrets=["TOKEN"]), NomadOptions(), SITE))
    assert "TOKEN" in shown
    assert "hidden" not in shown
    assert "TOKEN" not in task(secrets=["TOKEN"]).get("Env", {})


@pytest.mark.parametrize("name", script.RELIED_ON)
def test_a_variable_by_which_the_script_finds_its_way_is_nomads_alone(name):
    below = {"TaskGroups": [{"Tasks": [{"Name": "main", "Env": {name: "x"}}]}]}
    for given, base in [
        (submission(env={name: "x"}), None),
        (submission(env={name: "${x}"}), None),
        (submission(secrets=[name]), None),
        (submission(options={"variables": {name: "a#b"}}), None),
        (submission(), below),
    ]:
        options = options_from(NomadOptions, given.spec.options)
        with pytest.raises(SpecError, match=name):
            jobspec.payload(given, options, SITE, base)


def test_every_variable_of_nomads_that_the_script_reads_is_its_alone():
    (block,) = task(image="x", timeout=5)["Templates"]
    text = block["EmbeddedTmpl"] + str(task()["Config"]) + script.WORK
    assert {*re.findall(r"NOMAD_[A-Z_]+", text)} == {*script.RELIED_ON}


def test_nomad_reads_nothing_in_the_script():
    """Its delimiters are in no script, and values that Nomad would change are no Env of its own."""
    env = {"PLAIN": "x", "ODD": "${HOME} %{y} 'q'"}
    made = task(env=env, command=["echo", "[[{{ env }}]] ${x:-d}"])
    (block,) = made["Templates"]
    assert made["Env"] == {"PLAIN": "x"}
    assert block["LeftDelim"] not in block["EmbeddedTmpl"]
    assert block["RightDelim"] not in block["EmbeddedTmpl"]
    assert made["Config"]["args"] == ["${NOMAD_TASK_DIR}/run.sh"]


# -- the script, run -------------------------------------------------------------------------


def run(tmp_path, given, *, env=None, **how):
    place = tmp_path / "local"
    place.mkdir(exist_ok=True)
    (place / "run.sh").write_text(script.script(given, **{"contained": False, **how}))
    around = {"PATH": os.environ["PATH"], "NOMAD_TASK_DIR": str(place), **(env or {})}
    return subprocess.run(
        ["/bin/sh", place / "run.sh"], cwd=tmp_path, env=around, capture_output=True, text=True
    )


DIRECT = [
    ({"image": "x"}, True),
    ({"image": "x", "options": {"driver": "podman"}}, True),
    ({"image": "x", "options": {"config": {"logging": {"driver": "journald"}}}}, False),
    ({"options": {"driver": "exec"}}, False),
]


@pytest.mark.parametrize(("asked", "direct"), DIRECT)
def test_a_containers_output_goes_to_nomad_directly_unless_its_logging_is_configured(asked, direct):
    (block,) = task(**asked)["Templates"]
    assert (".stdout.fifo" in block["EmbeddedTmpl"]) is direct


def test_where_there_are_no_pipes_the_output_stays_where_it_is(tmp_path):
    env = {"NOMAD_ALLOC_DIR": str(tmp_path), "NOMAD_TASK_NAME": "main"}
    assert run(tmp_path, submission(command="echo out"), direct=True, env=env).stdout == "out\n"


def test_each_output_goes_into_its_pipe(tmp_path):
    pipes = [tmp_path / f"logs/.main.{name}.fifo" for name in ("stdout", "stderr")]
    pipes[0].parent.mkdir()
    for pipe in pipes:
        os.mkfifo(pipe)
    held = [os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) for pipe in pipes]
    env = {"NOMAD_ALLOC_DIR": str(tmp_path), "NOMAD_TASK_NAME": "main"}
    done = run(tmp_path, submission(command="echo out; echo err >&2"), direct=True, env=env)
    assert (done.stdout, done.stderr) == ("", "")
    assert [os.read(fd, 100) for fd in held] == [b"out\n", b"err\n"]
    for fd in held:
        os.close(fd)


def test_the_command_gets_its_arguments_as_they_are(tmp_path):
    odd = ["printf", "%s|", "a b", "$x", "`id`", "'", '"', "\\n", "*", ""]
    assert run(tmp_path, submission(command=odd)).stdout == "a b|$x|`id`|'|\"|\\n|*||"


def test_its_exit_code_is_the_scripts(tmp_path):
    assert run(tmp_path, submission(command="exit 7")).returncode == 7


def test_it_starts_in_a_directory_of_its_own_that_can_be_written_to(tmp_path):
    done = run(tmp_path, submission(command="pwd; touch x && echo $HOME"))
    assert done.stdout.split() == [str(tmp_path / "local/work")] * 2


def test_an_image_keeps_its_directory_and_home(tmp_path):
    given = submission(command="pwd; echo $HOME", image="debian")
    done = run(tmp_path, given, contained=True, env={"HOME": "/nowhere"})
    assert done.stdout.split() == [str(tmp_path), "/nowhere"]


def test_it_starts_where_it_was_asked_to(tmp_path):
    assert run(tmp_path, submission(command="pwd", workdir="/")).stdout == "/\n"
    assert run(tmp_path, submission(command="pwd", workdir="/no/such")).returncode == 125


def test_values_that_nomad_would_change_arrive(tmp_path):
    given = submission(command='printf %s "$ODD"', env={"ODD": "a${HOME}'\"\n%{x}"})
    assert run(tmp_path, given).stdout == "a${HOME}'\"\n%{x}"


def test_uploaded_files_are_in_its_directory(tmp_path):
    (tmp_path / "data.txt").write_text("hello")
    files = deliver(pack(["data.txt"], root=tmp_path), limit=1 << 20, store=None)
    assert run(tmp_path, submission(command="cat data.txt", files=files)).stdout == "hello"


def test_its_time_limit_is_enforced(tmp_path):
    assert run(tmp_path, submission(command="sleep 60", timeout=0.5)).returncode == 124
    assert run(tmp_path, submission(command="exit 3", timeout=60)).returncode == 3


def test_without_the_means_to_enforce_a_limit_it_is_not_started(tmp_path):
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "mkdir").symlink_to("/bin/mkdir")
    given = submission(command="echo started", timeout=60)
    done = run(tmp_path, given, env={"PATH": str(bare)})
    assert (done.returncode, done.stdout) == (125, "")
    assert "timeout(1)" in done.stderr
