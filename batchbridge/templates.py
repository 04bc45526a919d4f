"""A job in the engine's own words, which some drivers take as an option: as text, or as a file."""

from __future__ import annotations

from pathlib import Path

from batchbridge.errors import SpecError


def text_of(option: str, *, path: str, remedy: str = "") -> str:
    """The text that the option at `path` is, or that is in the file of that name.

    Text has several lines, or begins as JSON does. SpecError where there is no such file.
    """
    if "\n" in option or option.lstrip().startswith("{"):
        return option
    try:
        return Path(option).expanduser().read_text("utf-8")
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}", path=path, remedy=remedy) from error
