"""A user's own pod, under which ours is laid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from batchbridge.errors import SpecError
from batchbridge.templates import text_of
from batchbridge.values import convert

Json = dict[str, Any]

PATH = "options.pod"

REMEDY = "give a pod spec as a mapping, as JSON, as YAML of several lines, or a file's name"


@dataclass(frozen=True, slots=True)
class _Port:
    """The field of a container's port that is read here."""

    containerPort: int


@dataclass(frozen=True, slots=True)
class _Container:
    """The fields of a container that are read here."""

    env: Sequence[Json] = ()
    envFrom: Sequence[Json] = ()
    ports: Sequence[_Port] = ()
    resources: Mapping[str, Json] | None = None
    volumeMounts: Sequence[Json] = ()


@dataclass(frozen=True, slots=True)
class _Pod:
    """The fields of a pod spec that are read here."""

    containers: Sequence[_Container] = ()
    nodeSelector: Mapping[str, str] | None = None
    tolerations: Sequence[Json] = ()
    imagePullSecrets: Sequence[Json] = ()
    volumes: Sequence[Json] = ()
    terminationGracePeriodSeconds: int = 0


def spec_of(option: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """The pod spec that the option is, writes, or names as a file; of a whole Pod, its spec.

    SpecError where it is none.
    """
    if not option:
        return {}
    found = _read(option) if isinstance(option, str) else option
    if not isinstance(found, Mapping) or found.get("kind", "Pod") != "Pod":
        raise _refused("is no pod spec")
    pod, path = (found.get("spec"), f"{PATH}.spec") if "kind" in found else (found, PATH)
    convert(pod, _Pod, path=path)
    return pod if isinstance(pod, Mapping) else {}


def _read(option: str) -> Any:
    return _decoded(text_of(option, path=PATH, remedy=REMEDY))


@lru_cache(maxsize=8)  # the same template for thousands of jobs
def _decoded(text: str) -> Any:
    import yaml  # here: it is slow to import, and few need it

    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    except yaml.YAMLError as error:
        raise _refused(f"is neither YAML nor JSON: {_problem(error)}") from error


def _problem(error: Exception) -> str:
    """What is wrong, and where, in one line: the parser's own words have several."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"line {mark.line + 1}: " if mark else ""
    return where + (problem or " ".join(str(error).split()))


def main_and_others(
    pod: Mapping[str, Any], name: str
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The container that becomes ours, and the others: the one of that name, else the first."""
    containers = pod.get("containers") or [{}]
    main = next((one for one in containers if one.get("name") == name), containers[0])
    return main, [one for one in containers if one is not main]


def given_way(theirs: Mapping[str, Any], ours: Mapping[str, Any], name: str) -> list[str]:
    """What of the user's pod does not stand in ours: the places, in order."""
    main, _ = main_and_others(theirs, name)
    inside = {key: value for key, value in main.items() if key != "name"}
    outside = {key: value for key, value in theirs.items() if key != "containers"}
    return [*_lost(outside, ours, ""), *_lost(inside, ours["containers"][0], f"{name}.")]


def _lost(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in theirs.items():
        stands = ours.get(key)
        if isinstance(value, Mapping) and isinstance(stands, Mapping):
            yield from _lost(value, stands, f"{path}{key}.")
        elif isinstance(value, list) and isinstance(stands, list) and key != "command":
            yield from (f"{path}{key}.{one}" for one in _named_twice(value, stands))
        elif str(value) != str(stands):
            yield path + key


def _named_twice(theirs: Sequence[Any], all_of_it: Sequence[Any]) -> list[str]:
    """Names in the user's list that a later entry, ours, has too: Kubernetes takes the last."""
    ours = _names(all_of_it[len(theirs) :])
    return [name for name in _names(theirs) if name in ours]


def _names(entries: Sequence[Any]) -> list[str]:
    """The names of those that have one; tolerations, ports and others need none."""
    return [one["name"] for one in entries if isinstance(one, Mapping) and one.get("name")]


def _refused(problem: str) -> SpecError:
    return SpecError(f"{PATH} {problem}", path=PATH, remedy=REMEDY)
