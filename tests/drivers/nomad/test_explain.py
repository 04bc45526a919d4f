"""Why a job waits, where one agent cannot show it: what helps, for each thing that may lack."""

from __future__ import annotations

import pytest

from batchbridge_nomad.explain import explanation, reasons, remedy
from batchbridge_nomad.translate import Known
from batchbridge_nomad.wire import Alloc, Evaluation, Metrics, TaskEvent, TaskState

HERE = {"dc1": 3}


def metrics(**fields):
    return Metrics(**{"nodes_available": HERE, **fields})


@pytest.mark.parametrize(
    ("seen", "said", "help"),
    [
        ({"nodes_available": {}}, "no node in the datacenters asked for", "datacenters"),
        ({"constraint_filtered": {"missing drivers": 3}}, "missing drivers on 3 nodes", "driver="),
        ({"constraint_filtered": {"missing devices": 1}}, "missing devices on 1 node", "device"),
        (
            {"constraint_filtered": {"missing compatible host volumes": 2}},
            "missing compatible host volumes on 2 nodes",
            "volumes",
        ),
        (
            {"constraint_filtered": {"missing CSI volume(s) data": 3}},
            "missing CSI volume(s) data on 3 nodes",
            "nomad volume status",
        ),
        (
            {"constraint_filtered": {"CSI volume data has exhausted its available claims": 1}},
            "CSI volume data has exhausted its available claims on 1 node",
            "nomad volume status",
        ),
        ({"constraint_filtered": {"missing network": 3}}, "missing network on 3 nodes", "network"),
        (
            {"constraint_filtered": {"${attr.cpu.arch} = arm64": 3}},
            "constraint ${attr.cpu.arch} = arm64 on 3 nodes",
            "loosen constraints",
        ),
        ({"dimension_exhausted": {"memory": 2}}, "memory exhausted on 2 nodes", "ask for less"),
        (
            {"dimension_exhausted": {"devices: no devices match request": 1}},
            "devices: no devices match request on 1 node",
            "wait for other jobs",
        ),
        ({"quota_exhausted": ("cpu",)}, "quota cpu reached", "larger quota"),
    ],
)
def test_what_kept_nodes_out_and_what_helps(seen, said, help):
    found = metrics(**seen)
    assert ", ".join(reasons(found)).startswith(said)
    assert help in remedy(found)


def test_several_reasons_are_one_sentence():
    seen = metrics(
        constraint_filtered={"missing drivers": 1, "computed class ineligible": 1},
        dimension_exhausted={"memory": 1, "cpu": 1},
    )
    latest = Evaluation("bb-1", failed_tg_allocs={"main": seen}, modify_index=9)
    earlier = Evaluation("bb-1", modify_index=5)
    told = explanation(Known("bb-1"), [earlier, latest])
    assert told.summary == (
        "no place: missing drivers on 1 node, memory exhausted on 1 node, cpu exhausted on 1 node"
    )


@pytest.mark.parametrize(
    ("said", "help"),
    [
        ("Missing: nomad.var.block(team/db@default.global)", "write the variable"),
        ("Downloading image", "start_timeout"),
        ("Building Task Directory", ""),
    ],
)
def test_a_place_in_preparation_says_what_it_is_at(said, help):
    event = TaskEvent("Template", 1, said)
    alloc = Alloc(
        "a-1",
        "bb-1",
        node_name="node-1",
        desired_status="run",
        client_status="pending",
        task_states={"main": TaskState("pending", events=(event,))},
    )
    told = explanation(Known("bb-1", (alloc,)), [])
    assert told.summary == f"being prepared on node-1: {said}"
    assert help in told.remedy
