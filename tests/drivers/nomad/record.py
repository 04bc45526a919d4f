"""Record what a real agent says of a job: ``python -m tests.drivers.nomad.record [NAME ...]``.

Each recording is one job's life: what the lists say at its end, and every line of the event stream
on the way. The agent (BATCHBRIDGE_NOMAD, a dev agent with raw_exec)
should have nothing else to do; for lost nodes it needs ``nomad`` on PATH, too. Names of the machine
are replaced.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from batchbridge.model import JobSpec, Submission
from batchbridge_nomad import NomadDriver

HOME = Path(__file__).with_name("recordings")
ADDRESS = os.environ.get("BATCHBRIDGE_NOMAD", "http://127.0.0.1:4646")
V1 = f"{ADDRESS}/v1"

Scenario = Callable[[str], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__.replace("_", "-")] = function
    return function


# -- what is done ----------------------------------------------------------------------------


def payload(name: str, command: str, *, config: Any = None, group: Any = None, **fields: Any):
    options = {"driver": "raw_exec", **fields.pop("options", {})}
    spec = JobSpec(command=("sh", "-c", command), options=options, **fields)
    driver = NomadDriver(NomadDriver.Settings(address=ADDRESS))
    made: Any = driver.render(Submission(f"rec-{name}", spec, "recordings", "recorder"))
    made["Job"]["TaskGroups"][0].update(group or {})
    made["Job"]["TaskGroups"][0]["Tasks"][0]["Config"].update(config or {})
    return made


def register(made: Any) -> None:
    requests.put(f"{V1}/jobs", json=made, timeout=10).raise_for_status()


def run(name: str, command: str, **fields: Any) -> None:
    register(payload(name, command, **fields))


def deregister(name: str) -> None:
    requests.delete(f"{V1}/job/bb-rec-{name}", timeout=10).raise_for_status()


def get(path: str, **params: Any) -> Any:
    answer = requests.get(f"{V1}/{path}", params=params, timeout=10)
    answer.raise_for_status()
    return answer.json()


def allocations(name: str) -> list[Any]:
    return get(f"job/bb-rec-{name}/allocations")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def running(name: str, count: int = 1) -> None:
    def holds() -> bool:
        found = allocations(name)
        return len(found) == count and any(a["ClientStatus"] == "running" for a in found)

    until(holds)


def over(name: str, count: int = 1) -> None:
    def holds() -> bool:
        found = allocations(name)
        ends = ("complete", "failed", "lost")
        return len(found) == count and all(a["ClientStatus"] in ends for a in found)

    until(holds)


def blocked(name: str) -> None:
    until(lambda: any(e["Status"] == "blocked" for e in get(f"job/bb-rec-{name}/evaluations")))


def preemption(on: bool) -> None:
    """Whether batch jobs make room for each other; with it, reasons for waiting are hidden."""
    current = get("operator/scheduler/configuration")["SchedulerConfig"]
    current["PreemptionConfig"]["BatchSchedulerEnabled"] = on
    where = f"{V1}/operator/scheduler/configuration"
    requests.put(where, json=current, timeout=10).raise_for_status()


def most_memory() -> int:
    node = next(node for node in get("nodes") if node["Status"] == "ready")
    return int(get(f"node/{node['ID']}")["NodeResources"]["Memory"]["MemoryMB"])


# -- scenarios -------------------------------------------------------------------------------


@scenario
def success(name: str) -> None:
    run(name, "sleep 0.5")
    over(name)


@scenario
def exit_code(name: str) -> None:
    run(name, "exit 3")
    over(name)


@scenario
def killed_by_itself(name: str) -> None:
    run(name, "kill -9 $$")
    over(name)


@scenario
def time_limit(name: str) -> None:
    run(name, "sleep 30", timeout=1)
    over(name)


@scenario
def max_run_duration(name: str) -> None:
    run(name, "exec sleep 30", group={"MaxRunDuration": 10**9})
    over(name)


@scenario
def no_such_program(name: str) -> None:
    run(name, "true", config={"command": "/no/such/program", "args": []})
    over(name)


@scenario
def bad_interpolation(name: str) -> None:
    run(name, "true", config={"args": ["-c", "echo ${X:-d}"]})
    over(name)


@scenario
def unknown_config(name: str) -> None:
    run(name, "true", config={"no_such_key": 1})
    over(name)


@scenario
def cancelled(name: str) -> None:
    run(name, "exec sleep 60")
    running(name)
    deregister(name)
    over(name)


@scenario
def cancelled_and_clean(name: str) -> None:
    run(name, "trap 'exit 0' TERM; while true; do sleep 0.1; done")
    running(name)
    deregister(name)
    over(name)


@scenario
def cancelled_in_the_queue(name: str) -> None:
    run(name, "true", options={"datacenters": "mars"})
    blocked(name)
    deregister(name)
    until(lambda: get(f"job/bb-rec-{name}")["Status"] == "dead")


@scenario
def stopped_after_its_end(name: str) -> None:
    run(name, "true")
    over(name)
    deregister(name)
    time.sleep(0.5)


@scenario
def allocation_stopped(name: str) -> None:
    run(name, "exec sleep 60")
    running(name)
    (alloc,) = allocations(name)
    requests.put(f"{V1}/allocation/{alloc['ID']}/stop", json={}, timeout=10).raise_for_status()
    running(name, count=2)
    deregister(name)
    over(name, count=2)


@scenario
def preempted(name: str) -> None:
    preemption(True)
    memory = (most_memory() - 200) << 20
    run(name, "exec sleep 60", memory=memory, options={"priority": 10}, reruns=True)
    running(name)
    run(f"{name}-by", "sleep 3", memory=memory, options={"priority": 90})
    over(name)
    blocked(name)
    running(name, count=2)
    deregister(name)
    over(name, count=2)


@scenario
def drained(name: str) -> None:
    run(name, "exec sleep 60")
    running(name)
    node = next(node for node in get("nodes") if node["Status"] == "ready")
    drain = {"DrainSpec": {"Deadline": -1}, "MarkEligible": False}
    requests.put(f"{V1}/node/{node['ID']}/drain", json=drain, timeout=10).raise_for_status()
    over(name)
    time.sleep(1)
    back = {"DrainSpec": None, "MarkEligible": True}
    requests.put(f"{V1}/node/{node['ID']}/drain", json=back, timeout=10).raise_for_status()
    time.sleep(1)


def waiting(name: str, **fields: Any) -> None:
    run(name, "true", **fields)
    blocked(name)


@scenario
def no_datacenter(name: str) -> None:
    waiting(name, options={"datacenters": "mars"})


@scenario
def too_much_memory(name: str) -> None:
    waiting(name, memory=1 << 50)


@scenario
def no_such_node(name: str) -> None:
    windows = {"attribute": "${attr.kernel.name}", "value": "windows"}
    waiting(name, options={"constraints": [windows]})


@scenario
def no_such_node_with_preemption(name: str) -> None:
    preemption(True)
    no_such_node(name)


@scenario
def no_task_driver(name: str) -> None:
    waiting(name, options={"driver": "nothing"})


@scenario
def no_device(name: str) -> None:
    waiting(name, gpu=1)


CLIENT = """
data_dir = "{place}"
bind_addr = "127.0.0.1"
advertise {{
  http = "127.0.0.1"
  rpc = "127.0.0.1"
  serf = "127.0.0.1"
}}
name = "victim"
disable_update_check = true
ports {{
  http = 5646
  rpc = 5647
  serf = 5648
}}
server {{ enabled = false }}
client {{
  enabled = true
  servers = ["127.0.0.1:4647"]
  node_class = "victim"
  network_interface = "lo"
  options = {{ "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean" }}
}}
plugin "raw_exec" {{
  config {{ enabled = true }}
}}
"""


@contextmanager
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A second node of the dev agent's cluster, from the `nomad` on PATH, to be killed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        config = Path(place, "client.hcl")
        config.write_text(CLIENT.format(place=place))
        env = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        agent = subprocess.Popen(["nomad", "agent", "-config", config], env=env, **quiet)
        try:
            until(lambda: "victim" in [n["Name"] for n in get("nodes") if n["Status"] == "ready"])
            yield agent
        finally:
            agent.kill()
            agent.wait()


def lost_node(name: str, **fields: Any) -> None:
    """Its task outlives the node, as it may, and ends by itself."""
    there = {"attribute": "${node.class}", "value": "victim"}
    with victim() as agent:
        run(name, "exec sleep 40", options={"constraints": [there], "lost_after": "5s"}, **fields)
        running(name)
        agent.kill()
        over(name)
        blocked(name)
    deregister(name)
    until(lambda: get(f"job/bb-rec-{name}")["Status"] == "dead")


@scenario
def lost(name: str) -> None:
    lost_node(name)


@scenario
def lost_and_cancelled_while_it_waits(name: str) -> None:
    lost_node(name, reruns=True)


# -- recording -------------------------------------------------------------------------------


def follow(name: str, lines: list[Any], begun: threading.Event) -> None:
    topics = {"topic": [f"Allocation:bb-rec-{name}", f"Evaluation:bb-rec-{name}"]}
    answer = requests.get(f"{V1}/event/stream", params=topics, stream=True, timeout=(5, 40))
    rest = b""
    while data := answer.raw.read1(1 << 16):
        begun.set()
        *whole, rest = (rest + data).split(b"\n")
        lines += [json.loads(line) for line in whole if line.strip()]


def record(name: str) -> Any:
    job_id = f"bb-rec-{name}"
    requests.delete(f"{V1}/job/{job_id}", params={"purge": "true"}, timeout=10)
    requests.put(f"{V1}/system/gc", timeout=10)
    lines: list[Any] = []
    begun = threading.Event()
    threading.Thread(target=follow, args=(name, lines, begun), daemon=True).start()
    assert begun.wait(10)
    preemption(False)
    SCENARIOS[name](name)
    time.sleep(0.5)
    found = get("jobs", prefix=job_id, meta="true")
    evaluations = get(f"job/{job_id}/evaluations")
    made = {
        "engine": get("agent/self")["config"]["Version"]["Version"],
        "command": f"python -m tests.drivers.nomad.record {name}",
        "job": next(job for job in found if job["ID"] == job_id),
        "allocations": get("allocations", filter=f'JobID == "{job_id}"', task_states="true"),
        "evaluations": evaluations,
        "lines": [line for line in lines if line],
    }
    requests.delete(f"{V1}/job/{job_id}", params={"purge": "true"}, timeout=10)
    return made


def nameless(text: str) -> str:
    text = re.sub(r'"NodeName": ?"[^"]*"', '"NodeName": "node-1"', text)
    return re.sub(r"/tmp/Nomad[^ /]*", "/nomad", text)


def main(names: list[str]) -> None:
    HOME.mkdir(exist_ok=True)
    for name in names or SCENARIOS:
        text = json.dumps(record(name), indent=1, sort_keys=True)
        (HOME / f"{name}.json").write_text(nameless(text) + "\n")
        print(name, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
