"""What a task finds where it runs: its directories, its variables, its command."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.drivers.nomad.agent.shapes import Object
from tests.drivers.nomad.agent.templates import Invalid, interpolated, variables_of

CONTAINERS = ("docker", "podman")
KEYS = ("command", "args", "work_dir", "cgroup_v1_override", "oom_score_adj")
"""What the task drivers that run no image may be told."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """The place of one task on a node. `inherited`: the environment of the node's client."""

    job: Object
    alloc: Object
    node: Object
    folder: Path
    inherited: Mapping[str, str]

    @property
    def group(self) -> Object:
        """The task's group."""
        (group,) = self.job["TaskGroups"]
        return dict(group)

    @property
    def task(self) -> Object:
        """The task."""
        (task,) = self.group["Tasks"]
        return dict(task)

    @property
    def contained(self) -> bool:
        """Whether it runs in an image."""
        return self.task["Driver"] in CONTAINERS

    @property
    def home(self) -> Path:
        """Where it begins."""
        return self.folder / str(self.task["Name"])

    def environment(self) -> dict[str, str]:
        """Its variables, but for those of templates; its directories are there then."""
        nomad = self._nomad_variables()
        for name in ("NOMAD_TASK_DIR", "NOMAD_SECRETS_DIR", "NOMAD_ALLOC_DIR"):
            Path(nomad[name]).mkdir(parents=True, exist_ok=True)
        said = interpolated(self.task["Env"] or {}, {**nomad, **self._facts()}, strict=False)
        below = {"PATH": self.inherited["PATH"]} if self.contained else self.inherited
        return {**below, **nomad, **said}

    def _nomad_variables(self) -> dict[str, str]:
        return {**self._named(), **self._meta(), **self._directories()}

    def _directories(self) -> dict[str, str]:
        return {
            "NOMAD_ALLOC_DIR": str(self.folder / "alloc"),
            "NOMAD_TASK_DIR": str(self.home / "local"),
            "NOMAD_SECRETS_DIR": str(self.home / "secrets"),
        }

    def _meta(self) -> dict[str, str]:
        """What was said of the job, each under its name and under that in capitals."""
        said = (self.job["Meta"], self.group["Meta"], self.task["Meta"])
        meta = {name: str(value) for one in said for name, value in (one or {}).items()}
        named = {f"NOMAD_META_{name}": value for name, value in meta.items()}
        return {**named, **{name.upper(): value for name, value in named.items()}}

    def _named(self) -> dict[str, str]:
        job, alloc, task = self.job, self.alloc, self.task
        return {
            "NOMAD_ALLOC_ID": alloc["ID"],
            "NOMAD_SHORT_ALLOC_ID": alloc["ID"][:8],
            "NOMAD_ALLOC_NAME": alloc["Name"],
            "NOMAD_ALLOC_INDEX": "0",
            "NOMAD_TASK_NAME": task["Name"],
            "NOMAD_GROUP_NAME": self.group["Name"],
            "NOMAD_JOB_ID": job["ID"],
            "NOMAD_JOB_NAME": job["Name"],
            "NOMAD_DC": self.node["Datacenter"],
            "NOMAD_REGION": job["Region"],
            "NOMAD_NAMESPACE": job["Namespace"],
            "NOMAD_MEMORY_LIMIT": str(task["Resources"]["MemoryMB"]),
            "NOMAD_CPU_LIMIT": str(task["Resources"]["CPU"]),
            "NOMAD_PARENT_CGROUP": "nomad.slice",
        }

    def _facts(self) -> dict[str, str]:
        """What ``${attr.…}`` and ``${node.…}`` are here."""
        node = self.node
        attributes = {f"attr.{name}": value for name, value in node["Attributes"].items()}
        named = {"node.unique.name": node["Name"], "node.unique.id": node["ID"]}
        return {**attributes, **named, "node.datacenter": node["Datacenter"]}

    def write(self, template: Object, text: str) -> dict[str, str]:
        """Write a template's text to its place; the variables that it sets."""
        path = self.home / template["DestPath"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(int(template["Perms"], 8))
        return dict(variables_of(text)) if template["Envvars"] else {}

    def config(self, env: Mapping[str, str]) -> Object:
        """What the task driver is told. Invalid where it would not understand."""
        config: Object = interpolated(self.task["Config"], {**env, **self._facts()}, strict=True)
        for name in config.keys() - {*KEYS} if not self.contained else ():
            raise Invalid(
                "2 errors occurred:\n\t* failed to parse config: \n\t* Invalid label: "
                f'No argument or block type is named "{name}".\n\n'
            )
        return config

    def argv(self, config: Object, env: Mapping[str, str]) -> list[str]:
        """The command. FileNotFoundError, in Nomad's words, where there is no such program."""
        arguments = config.get("args", [])
        if self.contained:
            return [
                *config.get("entrypoint", []),
                *filter(None, [config.get("command")]),
                *arguments,
            ]
        if not shutil.which(config["command"], path=env.get("PATH")):
            raise FileNotFoundError(
                "failed to launch command with executor: rpc error: code = Unknown desc = binary "
                f'"{config["command"]}" could not be found'
            )
        return [config["command"], *arguments]
