"""What the documents show runs, and prints what they say it prints.

A Python block is run as a program of its own, in an empty directory; ``print(x)  # text`` in it has
to print that text. One that cannot run alone says so to whoever reads the source of the page:
``<!-- not run: why -->`` on the line before the block.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

import click
import pytest
import yaml

from batchbridge.cli import COMMANDS, cli
from batchbridge.model import JobSpec

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *ROOT.glob("localdev/*.md")]
FENCED = re.compile(
    r"^(?P<apart><!-- not run: .* -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
SHOWN = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)
CALL = re.compile(r"^(?: {4}|\$ )?(batchbridge .*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: str
    kind: str
    text: str
    runs: bool

    def __str__(self) -> str:
        return f"{self.page}: {self.text.strip().splitlines()[0]}"


def blocks(*kinds: str) -> list[Block]:
    """The fenced blocks of these kinds, of all pages."""
    return [
        Block(page.name, match["kind"], match["text"], runs=not match["apart"])
        for page in PAGES
        for match in FENCED.finditer(page.read_text())
        if match["kind"] in kinds
    ]


@pytest.mark.parametrize("block", [b for b in blocks("python") if b.runs], ids=str)
def test_python_runs_and_prints_what_is_said(block, tmp_path):
    (tmp_path / "example.py").write_text(block.text)
    command = [sys.executable, "example.py", *(["run"] if "(FlowSpec)" in block.text else [])]
    own = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "USER": "reader"}
    env = {**os.environ, **own}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in SHOWN.findall(block.text):
        assert said in done.stdout


@pytest.mark.parametrize("block", blocks("toml", "yaml", "json"), ids=str)
def test_data_can_be_read(block):
    {"toml": tomllib.loads, "yaml": yaml.safe_load, "json": yaml.safe_load}[block.kind](block.text)


def calls() -> list[str]:
    """Each call of the command that a page shows, in a fence or indented."""
    return sorted({call for page in PAGES for call in CALL.findall(page.read_text())})


def test_the_command_knows_every_verb_and_flag_that_is_shown():
    for call in calls():
        assert_known(call)


def assert_known(call: str) -> None:
    words = shlex.split(call.partition(" #")[0])[1:]
    if words[0].startswith("-"):
        return
    assert words[0] in COMMANDS, call
    verb = cli.get_command(click.Context(cli), words[0])
    assert verb is not None
    known = {flag for option in verb.params for flag in (*option.opts, *option.secondary_opts)}
    flags = words[1 : words.index("--")] if "--" in words else words[1:]
    used = {word.partition("=")[0] for word in flags if word.startswith("-") and word != "-"}
    assert used <= known, call


def test_the_page_on_the_command_line_has_every_field_of_a_job_and_every_verb():
    page = (ROOT / "docs" / "cli.md").read_text()
    missing = {f.name for f in fields(JobSpec) if not re.search(rf"\b{f.name}(:|`)", page)}
    assert not missing
    assert not {verb for verb in COMMANDS if f"`{verb}`" not in page}


DOCTESTS = [
    str(path.relative_to(root).with_suffix("")).replace(os.sep, ".")
    for root in (ROOT, ROOT / "drivers")
    for path in sorted(root.glob("batchbridge*/**/*.py"))
    if ">>>" in path.read_text()
]


@pytest.mark.parametrize("module", DOCTESTS)
def test_examples_in_docstrings(module):
    result = doctest.testmod(importlib.import_module(module))
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_links_within_the_project_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
