"""Templates: the text itself, or the name of a file with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchbridge.errors import SpecError
from batchbridge.templates import text_of


@pytest.mark.parametrize("text", ['{"a": 1}', '  {"a": 1}', "a: 1\n", 'job "x" {\n}'])
def test_text_is_itself(text: str) -> None:
    assert text_of(text, path="options.pod") == text


def test_a_name_is_its_files_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pod.yaml").write_text("größe: 1")
    for name in (str(tmp_path / "pod.yaml"), "~/pod.yaml"):
        assert text_of(name, path="options.pod") == "größe: 1"


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    name = tmp_path / "pod.yaml"
    if content is not None:
        name.write_bytes(content)
    with pytest.raises(SpecError, match=r"options\.pod cannot be read") as caught:
        text_of(str(name), path="options.pod", remedy="name another")
    assert (caught.value.path, caught.value.remedy) == ("options.pod", "name another")
