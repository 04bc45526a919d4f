"""What a client makes of a task's texts: templates, and ``${…}`` in its configuration. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from tests.drivers.nomad.agent.shapes import Object

Look: TypeAlias = Callable[[str], Mapping[str, str] | None]
"""The items of the variable at that path; None where there is none."""


class Waits(Exception):
    """A template reads a variable that is not there; its path."""


class Invalid(Exception):
    """A text that the client refuses, in its words."""


# -- templates -------------------------------------------------------------------------------

_WITH = re.compile(r'with nomadVar "([^"]+)"')
_FIELD = re.compile(r"\.(\w+)(\s*\|\s*toJSON)?(?:\.Value)?")
_INDEX = re.compile(r'index \. "([^"]+)"(\s*\|\s*toJSON)?')


def rendered(template: Object, look: Look) -> str:
    """The text of a template: its own delimiters, and ``with nomadVar`` inside of them.

    Waits where a variable is missing; Invalid where an action is not known here.
    """
    text, left, right = (template[k] for k in ("EmbeddedTmpl", "LeftDelim", "RightDelim"))
    if left not in text:
        return str(text)
    return "".join(_pieces(text, left, right, look))


def _pieces(text: str, left: str, right: str, look: Look) -> Iterator[str]:
    scope: list[Mapping[str, str]] = []
    for part in re.split(f"({re.escape(left)}.*?{re.escape(right)})", text, flags=re.DOTALL):
        if not part.startswith(left):
            yield part
            continue
        action = part.removeprefix(left).removesuffix(right).strip().strip("-").strip()
        opening = _WITH.fullmatch(action)
        if opening:
            scope.append(_items(opening[1], look))
        elif action == "end" and scope:
            scope.pop()
        else:
            yield _value(action, scope)


def _items(path: str, look: Look) -> Mapping[str, str]:
    items = look(path)
    if items is None:
        raise Waits(path)
    return items


def _value(action: str, scope: list[Mapping[str, str]]) -> str:
    found = _FIELD.fullmatch(action) or _INDEX.fullmatch(action)
    if not (found and scope):
        word = action.split()[0] if action else ""
        raise Invalid(f'(dynamic): parse: template: :1: function "{word}" not defined')
    value = scope[-1].get(found[1], "")
    return json.dumps(value) if found[2] else value


def variables_of(text: str) -> Iterator[tuple[str, str]]:
    """The variables of a rendered file of them: ``NAME=value``, quoted or not."""
    for line in text.splitlines():
        name, gap, value = line.strip().partition("=")
        if gap and not name.startswith("#"):
            yield name, json.loads(value) if value.startswith('"') else value


# -- interpolation ---------------------------------------------------------------------------

_REFERENCE = re.compile(r"\$\$\{|%%\{|\$\{([^}]*)\}")


def interpolated(value: Any, known: Mapping[str, str], *, strict: bool) -> Any:
    """`value` with each ``${name}`` replaced; one that is not known is kept, or Invalid."""
    if isinstance(value, dict):
        return {key: interpolated(one, known, strict=strict) for key, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one, known, strict=strict) for one in value]
    if not isinstance(value, str):
        return value

    def replaced(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0][1:]
        if found[1] in known:
            return known[found[1]]
        if strict:
            raise Invalid(_EXTRA)
        return found[0]

    return _REFERENCE.sub(replaced, value)


_EXTRA = (
    "2 errors occurred:\n\t* failed to parse config: \n\t* Extra characters after interpolation "
    "expression: Template interpolation doesn't expect a colon at this location. Did you intend "
    "this to be a literal sequence to be processed as part of another language? If so, you can "
    'escape it by starting with "$${" instead of just "${".\n\n'
)
"""What a client says of ``${x:-y}``."""
