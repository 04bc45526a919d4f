"""The files that hold settings: finding them, reading them once, and where each key stands.

Three of them, the first named wins: a project's ``batchbridge.toml``, the user's ``config.toml``
and the site's. What may stand in which is checked here; what it means is in
:mod:`batchbridge.settings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from batchbridge.errors import ConfigError, SpecError
from batchbridge.model import LIMITS, JobSpec
from batchbridge.values import suggestion

Kind: TypeAlias = Literal["project", "user", "site"]
Key: TypeAlias = tuple[str, ...]

PROJECT_FILE = "batchbridge.toml"
SITE_FILE = Path("/etc/batchbridge/config.toml")

INERT_JOB_FIELDS: Final = frozenset(
    {"name", "cpu", "memory", "disk", "gpu", *LIMITS, "labels", "job_set"}
)
"""Job defaults that any checkout may set. The others choose what runs, or what travels with it:
an image, ``LD_PRELOAD`` in ``env``, a ``workdir``, a file to ``upload``, a secret's source."""

PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

_TOP: Final[Mapping[str, type]] = {
    "default_profile": str,
    "store": str,
    "job": dict,
    "profile": dict,
    "trusted": list,
    "locked": list,
}
_ONLY_IN: Final[Mapping[str, tuple[Kind, ...]]] = {"trusted": ("user", "site"), "locked": ("site",)}
PROFILE_KEYS: Final[Mapping[str, type]] = {
    "backend": str,
    "store": str,
    "job": dict,
    "options": dict,
}
_TYPES: Final[Mapping[type, str]] = {str: "text", dict: "a table", list: "a list of text"}


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file, read and checked. ``trusted``: its words are the user's own."""

    kind: Kind
    path: Path
    trusted: bool
    values: Mapping[str, Any] = field(repr=False)
    text: str = field(repr=False)

    def get(self, *key: str) -> Any:
        """The value at that place, or None."""
        value: Any = self.values
        for part in key:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def where(self, *key: str) -> str:
        """``path:line`` of the key, or of the nearest table around it."""
        return f"{self.path}:{line_of(self.text, key)}"

    def error(self, problem: str, *key: str, remedy: str = "") -> ConfigError:
        """A ConfigError about that key."""
        return ConfigError(f"{self.where(*key)}: {dotted(key)} {problem}", remedy=remedy)

    def profiles(self) -> Mapping[str, Mapping[str, Any]]:
        """Its profiles, by name."""
        profiles: Mapping[str, Mapping[str, Any]] = self.values.get("profile", {})
        return profiles


def load(cwd: Path, named: Iterable[Path], user: Path, site: Path) -> tuple[ConfigFile, ...]:
    """The files that exist, strongest first; ConfigError with file and line for what is wrong.

    The files of `named` must exist. They count as the user's own, and are stronger than it.
    """
    own = [_existing(path) for path in named]
    theirs = [f for f in (*own, _load("user", user), _load("site", site)) if f]
    path = find_project(cwd)
    trusted = path is not None and _trusted(path, theirs)
    project = _load("project", path, trusted=trusted) if path else None
    return (project, *theirs) if project else tuple(theirs)


def find_project(cwd: Path) -> Path | None:
    """The nearest ``batchbridge.toml`` from `cwd` up to its repository's root, or to home.

    Outside both only `cwd` itself counts, so that a file that somebody left in ``/tmp`` is not
    taken up by the directories beneath.
    """
    above = list(_up_to_root(cwd.absolute()))
    return next((p for d in above if (p := d / PROJECT_FILE).is_file()), None)


def line_of(text: str, key: Key) -> int:
    """The line that `key` stands on, counted from 1; that of the nearest table if it has none.

    The parser tells no lines, so each header and each ``name =`` is parsed alone and compared.
    """
    best, line = 0, 1
    for number, path in _keys(text):
        shared = len(path) if path == key[: len(path)] else 0
        if shared > best:
            best, line = shared, number
    return line


def dotted(key: Key) -> str:
    """``profile.prod.address``, for people."""
    return printable(".".join(key))


def printable(text: str) -> str:
    """`text`, escaped where it would control the terminal: files come from strangers too."""
    return text if text.isprintable() else ascii(text)


# -- reading ---------------------------------------------------------------------------------


def _trusted(project: Path, theirs: Iterable[ConfigFile]) -> bool:
    roots = [Path(root).expanduser() for file in theirs for root in file.get("trusted") or ()]
    return any(project.resolve().is_relative_to(root.resolve()) for root in roots)


def _load(kind: Kind, path: Path, *, trusted: bool = True) -> ConfigFile | None:
    try:
        if not path.is_file():
            return None
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    try:
        file = ConfigFile(kind, path, trusted, _parse(text), text)
    except ValueError as error:
        raise ConfigError(_malformed(path, str(error))) from None
    _check(file)
    return file


def _existing(path: Path) -> ConfigFile:
    file = _load("user", path)
    if file is None:
        raise ConfigError(f"{path}, which $BATCHBRIDGE_CONFIG names, is no file")
    return file


def _parse(text: str) -> dict[str, Any]:
    """ValueError if `text` is not TOML."""
    import tomllib  # here, for a fast start of the command line

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _malformed(path: Path, words: str) -> str:
    place = re.search(r" \(at line (\d+), column \d+\)$", words)
    line = f":{place[1]}" if place else ""
    return f"{path}{line}: this is not TOML: {words[: place.start()] if place else words}"


def _up_to_root(cwd: Path) -> Iterator[Path]:
    above = [cwd, *cwd.parents]
    home = Path.home()
    last = next((n for n, d in enumerate(above) if d == home or (d / ".git").exists()), 0)
    yield from above[: last + 1]


def _keys(text: str) -> Iterator[tuple[int, Key]]:
    table: Key = ()
    for number, line in enumerate(text.splitlines(), start=1):
        name, equals, _ = line.partition("=")
        if line.lstrip().startswith("["):
            table = _dotted(line) or table
            yield number, table
        elif equals and (key := _dotted(f"{name}=0")):
            yield number, (*table, *key)


def _dotted(line: str) -> Key:
    """``a."b c".d`` of a header or an assignment, as the parser itself reads it."""
    try:
        value: Any = _parse(line)
    except ValueError:
        return ()
    key: Key = ()
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        key = (*key, name)
    return key


# -- what may stand where --------------------------------------------------------------------


def _check(file: ConfigFile) -> None:
    if isinstance(file.get("profile"), str):
        raise file.error(
            "is the table of profiles", "profile", remedy="to choose one write: default_profile = …"
        )
    for name, value in file.values.items():
        _check_known(file, name in _TOP, _TOP, name)
        _check_type(file, value, _TOP[name], name)
        if file.kind not in _ONLY_IN.get(name, (file.kind,)):
            raise file.error(f"does not belong into a {file.kind}'s file", name)
    _check_job(file, file.get("job") or {}, "job")
    for name, table in file.profiles().items():
        _check_profile(file, name, table)
    _check_trust(file)
    for key in file.get("locked") or ():
        _check_lock(file, key)


def _check_known(file: ConfigFile, known: bool, names: Mapping[str, Any], *key: str) -> None:
    if not known:
        raise file.error(f"is not known{suggestion(key[-1], names)}", *key)


def _check_type(file: ConfigFile, value: Any, kind: type, *key: str) -> None:
    texts = kind is not list or (isinstance(value, list) and all(isinstance(v, str) for v in value))
    if not isinstance(value, kind) or not texts:
        raise file.error(f"must be {_TYPES[kind]}", *key)


def _check_profile(file: ConfigFile, name: str, table: Any) -> None:
    _check_type(file, table, dict, "profile", name)
    if not PROFILE_NAME.fullmatch(name):
        raise file.error("is no name: use letters, digits, '-' and '_'", "profile", name)
    for key, kind in PROFILE_KEYS.items():
        if key in table:
            _check_type(file, table[key], kind, "profile", name, key)
    _check_job(file, table.get("job", {}), "profile", name, "job")


def _check_job(file: ConfigFile, job: Mapping[str, Any], *key: str) -> None:
    known = {f.name: f for f in fields(JobSpec)}
    for name in job:
        _check_known(file, name in known, known, *key, name)
        if name == "command":
            raise file.error("has no default: it is what is submitted", *key, name)
        if name == "options":
            raise file.error("belong to a backend", *key, name, remedy="use [profile.….options]")
    try:
        JobSpec.parse({"command": ["true"], **job})
    except SpecError as error:
        place = (*key, *error.path.partition("[")[0].split("."))
        raise ConfigError(f"{file.where(*place)}: {dotted(key)}.{error}") from None


def _check_lock(file: ConfigFile, text: str) -> None:
    key = tuple(text.split("."))
    lockable = key in (("default_profile",), ("store",)) or (
        len(key) == 3 and key[0] == "profile" and key[2] not in ("job", "options")
    )
    if not lockable or file.get(*key) is None:
        raise file.error(
            f"names {text!r}, which " + ("has no value here" if lockable else "cannot be locked"),
            "locked",
            remedy="lock default_profile, store or profile.NAME.KEY, and give it a value",
        )


# -- what a checkout may not say -------------------------------------------------------------


def refuse_untrusted(file: ConfigFile, *key: str) -> None:
    """ConfigError if that key stands in a file that came with a checkout."""
    if not file.trusted:
        raise file.error(
            "is not for a project's file to set",
            *key,
            remedy="move it to your own config.toml, or, if every file of this project may act "
            f'in your name, write there: trusted = ["{file.path.parent}"]',
        )


def _check_trust(file: ConfigFile) -> None:
    if "store" in file.values:
        refuse_untrusted(file, "store")
    tables: list[tuple[Key, Mapping[str, Any]]] = [(("job",), file.get("job") or {})]
    for name, table in file.profiles().items():
        tables.append((("profile", name, "job"), table.get("job", {})))
        if "store" in table:
            refuse_untrusted(file, "profile", name, "store")
    for key, job in tables:
        for name in job.keys() - INERT_JOB_FIELDS:
            refuse_untrusted(file, *key, name)
