"""Where a job goes: the scope that its reference names."""

from __future__ import annotations

import pytest

from batchbridge.errors import SpecError
from batchbridge.model import JobRef
from batchbridge_nomad import NomadDriver, jobs

from .answering import submission

TEAM = {"namespace": "team"}
EU = {**TEAM, "region": "eu"}


@pytest.mark.parametrize(
    ("settings", "options", "scope"),
    [
        ({}, {}, ("default",)),
        (TEAM, {}, ("team",)),
        (TEAM, {"namespace": "ml"}, ("ml",)),
        (EU, {}, ("team", "eu")),
        (EU, {"region": "us"}, ("team", "us")),
        (TEAM, {"region": "us", "namespace": "ml"}, ("ml", "us")),
    ],
)
def test_a_scope_is_the_namespace_and_the_region_that_is_named(settings, options, scope):
    """So that a reference is whole wherever its profile names none, or another."""
    driver = NomadDriver(NomadDriver.Settings(**settings))
    given = submission(options=options)
    assert driver.scope_of(given) == scope
    job = driver.render(given)["Job"]
    assert (job["Namespace"], job.get("Region")) == (scope[0], scope[1] if scope[1:] else None)


@pytest.mark.parametrize("scope", [(), ("team", "eu", "more")])
def test_a_reference_of_another_form_is_refused(driver, scope):
    with pytest.raises(SpecError, match="nomad://PROFILE/NAMESPACE/ID"):
        driver.hints(JobRef("nomad", "p", scope, "bb-1"))
    with pytest.raises(SpecError, match="nomad://PROFILE/NAMESPACE/ID"):
        driver.snapshot(scope, ["bb-1"])


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("plain", '"plain"'),
        ('a "b" \\', r'"a \u0022b\u0022 \\"'),
        ("\U0001f600 \n", '"\U0001f600 \\n"'),
    ],
)
def test_a_name_is_written_as_nomads_filters_read_it(text, literal):
    """In which a quote ends a string though a backslash is before it, and no half of a pair is."""
    assert jobs.where({"job_set": text}) == f"Meta.batchbridge_job_set == {literal}"


def test_a_listing_looks_where_submits_go(httpserver, address):
    settings = NomadDriver.Settings(address=address, **EU)
    httpserver.expect_request("/v1/jobs").respond_with_json([{"ID": "bb-1", "Name": "one"}])
    httpserver.expect_request("/v1/allocations").respond_with_json([])
    (listed,) = NomadDriver(settings).list(None, None)
    assert listed.scope == ("team", "eu")
    assert all(request.args["region"] == "eu" for request, _ in httpserver.log)
