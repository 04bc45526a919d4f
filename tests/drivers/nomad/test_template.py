"""A user's own job under ours: what stands, what gives way, and what is refused."""

from __future__ import annotations

import json

import pytest

from batchbridge.errors import SpecError
from batchbridge.fields import options_from
from batchbridge_nomad import jobspec, template
from batchbridge_nomad.settings import NomadOptions

from .test_jobspec import SITE, submission

SITES = {
    "Job": {
        "ID": "theirs",
        "Type": "batch",
        "Region": "eu",
        "Datacenters": ["dc1"],
        "Priority": 30,
        "Meta": {"cost": "team-a", "batchbridge_user": "root"},
        "Constraints": [{"LTarget": "${attr.kernel.name}", "RTarget": "linux", "Operand": "="}],
        "TaskGroups": [
            {
                "Name": "theirs",
                "Count": 3,
                "RestartPolicy": {"Attempts": 5},
                "EphemeralDisk": {"SizeMB": 5000},
                "Tasks": [
                    {
                        "Name": "work",
                        "Driver": "docker",
                        "Config": {"image": "site:1", "volumes": ["/data:/data"], "init": False},
                        "Env": {"SITE": "1", "BOTH": "theirs"},
                        "KillTimeout": 5,
                        "Templates": [{"DestPath": "local/theirs"}],
                    }
                ],
            }
        ],
    }
}


def base(**fields):
    job = {**SITES["Job"], **fields}
    return template.base({"Job": job})


def laid(below, **fields):
    given = submission(**fields)
    options = options_from(NomadOptions, given.spec.options)
    return jobspec.payload(given, options, SITE, below)["Job"]


def task(**fields):
    return template.main_task(laid(base(), **fields))


def test_what_only_the_template_says_stands():
    made = laid(base())
    assert (made["Datacenters"], made["Priority"]) == (["dc1"], 30)
    assert made["Meta"]["cost"] == "team-a"
    assert made["TaskGroups"][0]["EphemeralDisk"] == {"SizeMB": 5000}
    assert task()["KillTimeout"] == 5


def test_what_makes_it_ours_does_not():
    made = laid(base())
    (group,) = made["TaskGroups"]
    assert (made["ID"], made["Meta"]["batchbridge_user"]) == ("bb-key", "me")
    assert (group["Name"], group["Count"], group["RestartPolicy"]["Attempts"]) == ("main", 1, 0)
    assert [one["Name"] for one in group["Tasks"]] == ["main"]


def test_a_region_is_what_the_reference_says_and_not_the_template():
    """The job would be followed in another one."""
    assert "Region" not in laid(base())
    assert "job.Region" in [*template.overridden(base(), laid(base()))]
    usual = base(Region="global")  # Nomad's word for that of whoever is asked
    assert "job.Region" not in [*template.overridden(usual, laid(usual))]


def test_a_restart_policy_of_the_task_gives_way_too():
    """Nomad lets the task's beat its group's."""
    restarts = {"Attempts": 3, "Mode": "fail"}
    below = base(TaskGroups=[{"Tasks": [{"Name": "work", "RestartPolicy": restarts}]}])
    made = laid(below)
    assert template.main_task(made)["RestartPolicy"] == made["TaskGroups"][0]["RestartPolicy"]
    place = "job.TaskGroups[0].Tasks[main].RestartPolicy."
    said = list(template.overridden(below, made))
    assert [one for one in said if "RestartPolicy" in one] == [f"{place}Attempts"]


def test_what_the_job_asks_for_goes_before_the_template():
    asked = {"priority": 70, "datacenters": "dc2", "kill_timeout": "20s"}
    made = laid(base(), options=asked, disk="1G", image="mine:2", env={"BOTH": "mine"})
    main = template.main_task(made)
    assert (made["Priority"], made["Datacenters"]) == (70, ["dc2"])
    assert made["TaskGroups"][0]["EphemeralDisk"]["SizeMB"] == 1124
    assert main["KillTimeout"] == 20 * 10**9
    assert main["Config"]["image"] == "mine:2"
    assert main["Env"] == {"SITE": "1", "BOTH": "mine"}


def test_its_task_driver_and_image_are_used_with_our_script():
    made = task()
    assert made["Driver"] == "docker"
    assert made["Config"]["image"] == "site:1"
    assert made["Config"]["volumes"] == ["/data:/data"]
    assert made["Config"]["init"] is False
    assert made["Config"]["entrypoint"] == ["/bin/sh"]
    assert [one["DestPath"] for one in made["Templates"]] == ["local/theirs", "local/run.sh"]


def test_constraints_of_both_hold():
    gpu = {"attribute": "${node.class}", "value": "gpu"}
    made = laid(base(), options={"constraints": [gpu]})
    assert [one["RTarget"] for one in made["Constraints"]] == ["linux", "gpu"]


@pytest.mark.parametrize(
    ("said", "asked", "left"),
    [
        ({"Cores": 2}, {"cpu": 3}, {"CPU": 3000}),
        ({"CPU": 500, "Cores": 0}, {"options": {"cores": 3}}, {"Cores": 3}),
        ({"CPU": 500, "Cores": 0}, {"cpu": 3}, {"CPU": 3000, "Cores": 0}),
    ],
)
def test_of_cores_and_megahertz_that_exclude_each_other_ours_stands(said, asked, left):
    below = base(TaskGroups=[{"Tasks": [{"Resources": {**said, "MemoryMB": 64}}]}])
    made = laid(below, **asked)
    assert template.main_task(made)["Resources"] == {**left, "MemoryMB": 64}
    gone = "Cores" if said.get("Cores") else "CPU"
    place = f"job.TaskGroups[0].Tasks[main].Resources.{gone}"
    assert place in [*template.overridden(below, made)]


def test_what_is_to_happen_at_a_node_that_is_cut_off_is_ours_as_a_whole():
    below = base(TaskGroups=[{"Disconnect": {"StopOnClientAfter": 60}}])
    made = laid(below)
    assert "StopOnClientAfter" not in made["TaskGroups"][0]["Disconnect"]
    assert "job.TaskGroups[0].Disconnect" in [*template.overridden(below, made)]
    assert laid(below, reruns=True)["TaskGroups"][0]["Disconnect"] == {"StopOnClientAfter": 60}


def test_other_tasks_stay_beside_the_command():
    work = SITES["Job"]["TaskGroups"][0]["Tasks"][0]
    tasks = [{**work, "Name": "main"}, {"Name": "side", "Driver": "docker"}]
    made = laid(base(TaskGroups=[{"Tasks": tasks}]))
    assert [one["Name"] for one in made["TaskGroups"][0]["Tasks"]] == ["main", "side"]


def test_what_gave_way_is_named():
    below = base()
    said = list(template.overridden(below, laid(below, options={"priority": 70})))
    assert "job.Priority" in said
    assert "job.TaskGroups[0].RestartPolicy.Attempts" in said
    assert "job.TaskGroups[0].Count" in said
    assert "job.Meta.batchbridge_user" in said
    assert not [place for place in said if place.endswith((".ID", ".Name", "Constraints"))]


@pytest.mark.parametrize(
    "fields",
    [
        {"Type": "service"},
        {"Periodic": {"Spec": "@daily"}},
        {"ParameterizedJob": {}},
        {"TaskGroups": [{}, {}]},
        {"TaskGroups": [{"Tasks": [{"Name": "a"}, {"Name": "b"}]}]},
        {"TaskGroups": [{"Tasks": [{"Name": "main"}, {"Driver": "exec"}]}]},
        {"TaskGroups": [{"Tasks": [{"Name": "main"}, {"Name": "main"}]}]},
        {"TaskGroups": ["x"]},
        {"TaskGroups": {"x": {}}},
        {"TaskGroups": [{"Tasks": [None]}]},
        {"TaskGroups": [{"Tasks": [{"Constraints": {}}]}]},
        {"TaskGroups": [{"tasks": []}]},
        {"TaskGroups": [{"Tasks": [{"driver": "exec"}]}]},
        {"Meta": "x"},
        {"priority": 30},
    ],
)
def test_what_is_not_one_batch_job_is_refused(fields):
    with pytest.raises(SpecError) as caught:
        base(**fields)
    assert caught.value.path == "options.template"
    assert caught.value.remedy


@pytest.mark.parametrize(
    "parsed",
    [{"Job": []}, {"Job": None}, {"job": {"x": {"type": "batch"}}}, {"job": [{"x": {}}]}],
)
def test_what_has_another_form_than_that_of_the_api_is_refused(parsed):
    with pytest.raises(SpecError, match=r"options\.template") as caught:
        template.base(parsed)
    assert "nomad job run -output" in caught.value.remedy


def test_what_is_empty_in_a_job_gives_way_unheard_and_is_kept_otherwise():
    """An agent's parser says ``"KillSignal": ""`` of every task. A job that Nomad shows has an
    update block in which no more than an empty HealthCheck says that there is none."""
    update = {"HealthCheck": "", "MaxParallel": 0}
    tasks = [{"KillSignal": "", "User": None, "Env": {"SITE": ""}}]
    below = base(Update=update, TaskGroups=[{"Tasks": tasks}])
    made = laid(below)
    main = template.main_task(made)
    assert (main["KillSignal"], main["Env"]) == ("SIGTERM", {"SITE": ""})
    assert made["Update"] == update
    assert not [one for one in template.overridden(below, made) if "KillSignal" in one]


def test_a_template_is_json_or_hcl():
    assert template.decoded(json.dumps(SITES)) == SITES
    assert template.decoded('job "x" {}') is None


def test_a_template_that_is_broken():
    with pytest.raises(SpecError, match=r"options\.template is no JSON"):
        template.decoded("{broken")
