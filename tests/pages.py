"""What the pages of the engines say, and how their tests hold the code, and a shell, against it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchbridge.fields import FieldHelp, describe
from metaflow_extensions.batchbridge.plugins.tables import Attribute, Engine

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)

END = "-- end of output --\n"


@dataclass(frozen=True)
class Page:
    """A page of the documentation."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    def blocks(self, kind: str) -> list[str]:
        """The fenced blocks of that kind."""
        return [text for its, text in FENCED.findall(self.text) if its == kind]

    def table(self, name: str) -> str:
        """The table under the comment of that name."""
        found = re.search(rf"<!-- {name} -->\n(.*?)\n\n", self.text, re.S)
        assert found is not None
        return found[1]


# -- the tables ------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def settings_table(settings: type, *, variables: bool = False) -> str:
    """A driver's settings; with the engine's own `variables`, where it has some."""
    if not variables:
        return _fields_table("setting", settings)
    rows = [[*_cells(f), f"`{f.env}`" if f.env else "", f.help] for f in describe(settings)]
    return table(["setting", "is", "default", "variable", ""], rows)


def options_table(options: type) -> str:
    """What a job may ask of the driver."""
    return _fields_table("option", options)


def nested_table(classes: Iterable[type]) -> str:
    """What the options consist of that are more than one value."""
    rows = [[cls.__name__, _named(cls), (cls.__doc__ or "").splitlines()[0]] for cls in classes]
    return table(["each", "has, with its default", ""], rows)


def decorator_table(engine: Engine) -> str:
    """A decorator's attributes."""

    def row(one: Attribute) -> list[str]:
        name = f"`{one.name}`" if one.name else ""
        variable = f"`METAFLOW_{engine.name.upper()}_{one.config}`" if one.config else ""
        return [name, one.kind, variable, one.help.replace("``", "`")]

    return table(["attribute", "is", "variable", ""], [row(one) for one in engine.attributes])


def _fields_table(what: str, cls: type) -> str:
    rows = [[*_cells(f), f.help] for f in describe(cls)]
    return table([what, "is", "default", ""], rows)


def _cells(field: FieldHelp) -> list[str]:
    return [f"`{field.name}`", field.type.replace("|", "or"), _default(field)]


def _default(field: FieldHelp) -> str:
    if field.required:
        return "required"
    return "" if field.default in (None, "", (), {}) else f"`{field.default}`".lower()


def _named(cls: type) -> str:
    given = [(f.name, _default(f)) for f in describe(cls)]
    return ", ".join(f"`{name}`" + (f" ({said})" if said else "") for name, said in given)


# -- the commands ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """Who follows the page, in a directory of their own."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "USER": "reader",
            "BATCHBRIDGE_CONFIG": str(self.home / "localdev.toml"),
            "METAFLOW_NOMAD_DRIVER": "raw_exec",
        }

    def does(self, commands: Sequence[str]) -> list[str]:
        """What each prints, errors too; ``$?`` is the exit code of the one before."""
        keep = f"code=$?; printf %s '{END}'"
        script = "\n".join(f"(exit $code); {command}\n{keep}" for command in commands)
        done = subprocess.run(
            ["bash", "-c", f"code=0\n{script}"],
            cwd=self.home,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout.split(END)[:-1]

    def check(self, console: str) -> None:
        """Each command of that block prints what is said there."""
        said = _shown(console)
        for command, printed in zip(said, self.does(list(said)), strict=True):
            assert _is_printed(said[command], printed), f"$ {command}\n{printed}"

    def check_profile(self, text: str, address: str) -> None:
        """The profile, so written, leads to that address."""
        (self.home / "localdev.toml").write_text(text)
        (printed,) = self.does([f"batchbridge config {text[9 : text.index(']')]}"])
        assert address in printed, printed


def first_line(text: str) -> str:
    """What a block is called among the tests."""
    return text.splitlines()[0]


def _shown(console: str) -> dict[str, str]:
    """Command -> what it is said to print."""
    parts = [part.partition("\n") for part in re.split(r"^\$ ", console, flags=re.M)[1:]]
    return {command: said for command, _, said in parts if not command.startswith("eval ")}


def _is_printed(said: str, printed: str) -> bool:
    """Whether each line that is said is there, and, unless one is ``…``, no other.

    Their order is not looked at: standard output and error arrive as they like.
    """
    lines = said.splitlines()
    found = all(re.search(f"^{_pattern(line)}$", printed, re.M) for line in lines)
    return found and ("…" in lines or len(lines) == len(printed.splitlines()))


def _pattern(line: str) -> str:
    """What a line means: ``…`` is anything, a time any time."""
    return re.sub(r"\d\d:\d\d:\d\d", r"[\\d:]{8}", re.escape(line).replace("…", ".*"))
