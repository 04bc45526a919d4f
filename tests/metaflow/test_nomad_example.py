"""The flow that docs/nomad.md sends people to, on a small Nomad and on a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import REPO, Place
from .engines import LIVE, There, real_nomad, small_nomad

pytestmark = pytest.mark.timeout(600)  # a whole flow; after the last of all, agents are ended


@pytest.fixture(params=[small_nomad, pytest.param(real_nomad, marks=LIVE)], ids=["small", "real"])
def there(request: pytest.FixtureRequest) -> Iterator[There]:
    with request.param() as found:
        yield found


def plant(root: Path) -> None:
    """Nine files: three with one content, two with another; of two that are empty none counts."""
    for name, text in {"a": "x", "b/a": "x", "b/c": "x", "d e": "y", "f": "y", "g": "z"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in ("h", "i", "b/link"):
        (root / name).touch()
    (root / "b" / "link").unlink()
    (root / "b" / "link").symlink_to(root / "a")


def test_the_flow_counts_copies_as_the_tools_do(there: There, place: Place) -> None:
    root = place.root / "files"
    plant(root)
    words = ("run", "--root", str(root))
    console = place.flow(REPO / "examples" / "nomad_flow.py", *words, env=there.env, within=280)
    run = place.show("NomadFlow", console, env=there.env)
    (end,) = run["steps"]["end"]
    assert run["ok"]
    assert sorted(Path(name).relative_to(root) for name in end["artifacts"]["copies"]) == [
        Path(name) for name in ("a", "b/a", "b/c", "d e", "f")
    ]
    assert end["artifacts"]["expected"] == 5
    assert console.count("; job bb-") == 6  # each of start, four shards, join says where it ran
    assert "equal" in console
