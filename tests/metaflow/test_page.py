"""What the documentation says of the attributes is what the tables say, and its flows run."""

from __future__ import annotations

import re
import sys

import pytest

from metaflow_extensions.batchbridge.plugins.engines import ARMADA, COMMON, LOCAL, NOMAD
from metaflow_extensions.batchbridge.plugins.tables import Engine

from .conftest import REPO, Place
from .engines import small_armada, small_nomad

PAGE = (REPO / "docs" / "metaflow.md").read_text()


def rows(engine: Engine) -> list[str]:
    """A line of a table for each attribute that the engine has beside, or other than, all."""
    shared = COMMON if engine is not LOCAL else ()
    variables = {id(a): f"`METAFLOW_{name}`" for name, a in engine.variables.items()}
    return [
        f"| {f'`{a.name}`' if a.name else ''} | {a.kind} | {variables.get(id(a), '')} |"
        f" {a.help.replace('``', '`')} |"
        for a in engine.attributes
        if a not in shared
    ]


@pytest.mark.parametrize("engine", [LOCAL, NOMAD, ARMADA], ids=["all", "nomad", "armada"])
def test_every_attribute_and_every_variable_is_on_the_page(engine: Engine) -> None:
    missing = [row for row in rows(engine) if row not in PAGE.splitlines()]
    assert not missing, "\n".join(missing)


def example(name: str) -> str:
    """The flow of the page that imports that name."""
    fenced = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    (found,) = [text for text in fenced if re.search(f"import .*{name}", text)]
    return found


@pytest.mark.timeout(300)
def test_the_flow_of_nomad_runs(place: Place) -> None:
    flow = place.root / "flow.py"
    flow.write_text(example("nomad"))
    with small_nomad() as there:
        address = there.env["METAFLOW_NOMAD_ADDRESS"]
        env = {"NOMAD_ADDR": address, "METAFLOW_NOMAD_EXECUTABLE": sys.executable}
        console = place.flow(flow, "run", env=env)
    assert "cpu 2000 MHz, memory 4096 MB, image python:3.12" in console


@pytest.mark.timeout(300)
def test_the_flow_of_armada_runs(place: Place) -> None:
    flow = place.root / "flow.py"
    with small_armada() as there:
        host, port = (there.env[f"METAFLOW_ARMADA_{name}"] for name in ("HOST", "PORT"))
        text = example("armada").replace("armada.example.com", host).replace("443", port)
        flow.write_text(text.replace('"team"', '"q"'))
        console = place.flow(flow, "run", env={"METAFLOW_ARMADA_EXECUTABLE": sys.executable})
    assert "cpu 0.24 cores, memory 4096 MB, image python:3." in console
