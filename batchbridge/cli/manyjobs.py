"""Many jobs from one command: a file of them, or an array of one job's indexes. No engine here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from batchbridge.defaults import joined
from batchbridge.errors import SpecError, UsageError

INDEX: Final = "BATCHBRIDGE_INDEX"
"""The variable that tells a job of an array its index."""

MOST: Final = 1_000_000
"""Indexes of the largest array: it is held whole while it is submitted."""

Form = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One of many jobs: where it is written, and its form or why it has none."""

    index: int  #: its key is the common key and this
    where: str  #: "jobs.yaml:12", for errors
    form: Form | SpecError


@dataclass(frozen=True, slots=True)
class Array:
    """``0-499%20``: the indexes, and how many may run at once."""

    indexes: range
    bound: int | None

    @classmethod
    def parse(cls, text: str) -> Array:
        """The array that `text` writes; SpecError if it writes none."""
        match = re.fullmatch(r"(\d{1,18})-(\d{1,18})(?:%(\d{1,18}))?", text)
        bound = int(match[3]) if match and match[3] else None
        if not match or int(match[1]) > int(match[2]) or bound == 0:
            raise SpecError(
                f"array: {text!r} is none, such as 0-499, or 0-499%20 for at most 20 at once",
                path="array",
            )
        indexes = range(int(match[1]), int(match[2]) + 1)
        if len(indexes) > MOST:
            raise SpecError(f"array: {text} has more than {MOST} indexes", path="array")
        return cls(indexes, bound)

    def items(self, form: Form) -> list[Item]:
        """The job of each index, which its environment tells, and its name where `form` has one."""
        return [Item(n, f"index {n}", _indexed(form, n)) for n in self.indexes]


def _indexed(form: Form, index: int) -> Form:
    named = {"name": f"{form['name']}-{index}"} if "name" in form else {}
    return {**form, **named, "env": {**form.get("env", {}), INDEX: str(index)}}


def read(path: str, over: Form) -> list[Item]:
    """The jobs of a YAML list or of JSON lines (``-``: JSON lines from stdin), each with `over`.

    A job that is malformed is an item with its error; UsageError where the file cannot be read.
    """
    items = list(_json_lines(path) if _is_json(path) else _yaml(path))
    if not items:
        raise UsageError(f"{path} holds no jobs")
    return [
        replace(
            item, form=item.form if isinstance(item.form, SpecError) else joined(item.form, over)
        )
        for item in items
    ]


def _is_json(path: str) -> bool:
    suffix = Path(path).suffix.lower()
    if path != "-" and suffix not in (".yaml", ".yml", ".jsonl", ".ndjson"):
        raise UsageError(
            f"{path}: what it holds is not told by its name",
            remedy="name it .yaml (a list of jobs) or .jsonl (one job a line)",
        )
    return suffix not in (".yaml", ".yml")


def _text(path: str) -> str:
    try:
        with click.open_file(path, "rb") as file:
            content: bytes = file.read()
            return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} cannot be read: {words}") from None


def _json_lines(path: str) -> Iterator[Item]:
    lines = _text(path).split("\n")  # no other end of line: texts may hold U+2028 as it is
    filled = [(n, line) for n, line in enumerate(lines, 1) if line.strip()]
    for index, (number, line) in enumerate(filled):
        yield Item(index, f"{path}:{number}", _json_form(line))


def _json_form(line: str) -> Form | SpecError:
    try:
        return _form(msgspec.json.decode(line))
    except msgspec.DecodeError as error:
        return SpecError(f"is no JSON: {error}")


def _yaml(path: str) -> Iterator[Item]:
    """Through the nodes rather than the values, since only nodes know their lines."""
    import yaml  # here: it is slow to import, and most jobs come from flags

    text = _text(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.SequenceNode):
            raise UsageError(f"{path} is no YAML list of jobs")
        for index, child in enumerate(node.value):
            yield Item(index, f"{path}:{child.start_mark.line + 1}", _yaml_form(loader, child))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: is no YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is no YAML: {error}") from None
    finally:
        loader.dispose()


def _yaml_form(loader: Any, node: Any) -> Form | SpecError:
    import yaml

    try:
        return _form(loader.construct_document(node))
    except yaml.constructor.ConstructorError as error:
        return SpecError(f"is no job: {error.problem}")


def _form(value: Any) -> Form | SpecError:
    return value if isinstance(value, Mapping) else SpecError("is no job: a mapping is expected")
