"""Values that stand in no job: a job's own, those of Nomad Variables, and of Vault."""

from __future__ import annotations

import pytest

from batchbridge.errors import SpecError
from batchbridge.fields import options_from
from batchbridge_nomad.settings import NomadOptions

from .test_jobspec import task

DB = {"PASSWORD": "team/db#password"}
APP = {"API_KEY": "secret/data/app#api-key"}


def environments(**fields):
    return {one["DestPath"]: one for one in task(**fields)["Templates"] if one.get("Envvars")}


def test_each_source_is_a_file_of_the_tasks_secrets():
    made = environments(secrets=["TOKEN"], options={"variables": DB, "vault": APP})
    assert list(made) == [
        "secrets/batchbridge.env",
        "secrets/variables.env",
        "secrets/vault.env",
    ]


def test_a_variable_is_named_by_path_and_key():
    (made,) = environments(options={"variables": DB}).values()
    assert made["EmbeddedTmpl"] == (
        '{{ with nomadVar "team/db" }}'
        '{{ if not (index . "password").Key }}'
        '{{ sprig_fail "nothing at team/db#password" }}{{ end }}'
        'PASSWORD={{ (index . "password") | toJSON }}\n{{ end }}'
    )


def test_a_secret_of_vaults_is_found_in_either_version_of_its_store():
    (made,) = environments(options={"vault": APP}).values()
    assert made["EmbeddedTmpl"].startswith('{{ with secret "secret/data/app" }}')
    assert '(index (or (index .Data "data") .Data) "api-key") | toJSON' in made["EmbeddedTmpl"]


def test_a_job_that_needs_vault_says_so():
    options = {"vault": APP, "vault_role": "team", "vault_namespace": "ml"}
    expected = {"Role": "team", "Namespace": "ml", "ChangeMode": "noop"}
    assert task(options=options)["Vault"] == expected
    assert task(options={"vault": APP})["Vault"] == {"ChangeMode": "noop"}
    assert "Vault" not in task(options={"variables": DB})


@pytest.mark.parametrize(
    "fields",
    [
        {"secrets": ["PASSWORD"], "options": {"variables": DB}},
        {"env": {"PASSWORD": "x"}, "options": {"variables": DB}},
        {"options": {"variables": DB, "vault": {"PASSWORD": "secret/x#y"}}},
    ],
)
def test_a_name_has_one_source(fields):
    with pytest.raises(SpecError, match="PASSWORD has more than one source"):
        task(**fields)


@pytest.mark.parametrize("source", ["team/db", "#key", "path#", 'a"b#c', "a b#c", "a#{{c}}"])
@pytest.mark.parametrize("option", ["variables", "vault"])
def test_what_is_no_path_and_key(option, source):
    with pytest.raises(SpecError, match="PATH#KEY"):
        options_from(NomadOptions, {option: {"NAME": source}})


def test_a_name_that_is_no_variables():
    with pytest.raises(SpecError, match="1X"):
        options_from(NomadOptions, {"variables": {"1X": "a#b"}})
