"""Whole flows through ``@nomad`` and ``@armada``: the same on small engines and on real ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localdev.s3_server import Running

from . import whole_flow
from .conftest import FLOWS, Place
from .engines import ENGINES, There
from .whole_flow import LONG

pytestmark = pytest.mark.timeout(600)  # whole flows, of several processes each
WIDE = {"nomad": 50, "armada": 20}


@pytest.fixture(scope="module", params=ENGINES)
def there(request: pytest.FixtureRequest) -> Iterator[There]:
    with request.param() as found:
        yield found


def test_a_whole_flow(there: There, place: Place) -> None:
    """One run, looked at from every side: dozens of jobs are not run again for each of them."""
    whole_flow.check(whole_flow.run(there, place, WIDE[there.name], memory=there.memory))


CANARY = "canary-9d11"


def test_a_flow_over_s3(place: Place, there: There, s3_server: Running) -> None:
    """Nomad takes the credentials as secrets; Armada only because the configuration says so."""
    env = {
        **there.env,
        "AWS_ACCESS_KEY_ID": f"{CANARY}-id",
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "METAFLOW_DEFAULT_DATASTORE": "s3",
        "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{s3_server.bucket}/{CANARY[:6]}",
        "METAFLOW_S3_ENDPOINT_URL": s3_server.endpoint,
        "SOME_TOKEN": f"{CANARY}-token",
        "METAFLOW_ARMADA_ALLOW_PLAIN_CREDENTIALS": "true",
    }
    text = place.root / "s3_flow.py"
    source = (FLOWS / "s3_flow.py").read_text()
    text.write_text(source.replace("local_batch", there.name))
    (place.root / "marks").mkdir()
    (place.root / "marks" / "go").write_text("on")
    console = place.flow(text, "run", "--place", str(place.root), env=env, within=LONG)
    start = place.show("S3Flow", console, env=env)["steps"]["start"][0]
    assert start["artifacts"]["asked"] == {"SOME_TOKEN": len(f"{CANARY}-token")}
    assert start["attempt"] == 1
    assert console.count("over S3") == 1
    assert "x is 41" in console
    assert CANARY not in console
