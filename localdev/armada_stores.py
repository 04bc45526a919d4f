"""Pulsar, PostgreSQL and Redis for an Armada: those that are named, or programs started here."""

from __future__ import annotations

import json
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from localdev.armada_state import Keeper
from localdev.common import Failed, free_port
from localdev.processes import as_user

READY_WITHIN = 120.0  # seconds
DATABASES = ("scheduler", "lookout")
PULSAR_PLACES = ("/opt/pulsar", "/usr/share/pulsar", "/usr/local/pulsar")
MEMORY = "-Xms256m -Xmx1g -XX:MaxDirectMemorySize=512m"
SERVER = re.compile(r"(?:\w+://)?(?:[^@/]*@)?[^/:]+:\d+/?")


@dataclass(frozen=True, slots=True)
class Stores:
    """Where Armada keeps things."""

    pulsar: str  #: ``pulsar://host:port``
    redis: str  #: ``host:port``
    postgres: Mapping[str, str | int]  #: host, port, user, password


@dataclass(frozen=True, slots=True)
class Named:
    """What was named for each: a server, a program or its directory, or nothing."""

    pulsar: str = ""
    postgres: str = ""
    redis: str = ""


def provide(named: Named, keeper: Keeper) -> Stores:
    """All three, answering. Failed names every program that is missing, with the remedy."""
    programs = find_programs(named)
    return Stores(
        pulsar=named.pulsar if is_server(named.pulsar) else _pulsar(programs["pulsar"], keeper),
        redis=named.redis if is_server(named.redis) else _redis(programs["redis"], keeper),
        postgres=connection(named.postgres)
        if is_server(named.postgres)
        else _postgres(programs["postgres"], keeper),
    )


# -- what is there ---------------------------------------------------------------------------


def is_server(named: str) -> bool:
    """Whether that is the address of a server, not a path."""
    return SERVER.fullmatch(named) is not None


def find_programs(named: Named) -> dict[str, Path]:
    """The program of each store for which no server is named; Failed names what is missing."""
    searches = {
        "pulsar": (named.pulsar, _find_pulsar, "Pulsar: name its directory with --pulsar DIR"),
        "postgres": (
            named.postgres,
            _find_postgres,
            "PostgreSQL: apt install postgresql, or name its bin directory with --postgres DIR",
        ),
        "redis": (
            named.redis,
            _find_redis,
            "Redis: apt install redis-server, or name the program with --redis PATH",
        ),
    }
    found: dict[str, Path] = {}
    missing = []
    for store, (where, search, remedy) in searches.items():
        if is_server(where):
            continue
        program = search(where)
        if program is None:
            missing.append(f"{remedy}; {where} is none" if where else remedy)
        else:
            found[store] = program
    if "pulsar" in found and shutil.which("java") is None:
        missing.append("Java for Pulsar: apt install default-jre-headless")
    if missing:
        raise Failed("not found:\n" + "\n".join(f"  {one}" for one in missing))
    return found


def _find_pulsar(named: str) -> Path | None:
    given = [named] if named else [os.environ.get("PULSAR_HOME", ""), *PULSAR_PLACES]
    places = [Path(place) / "bin" / "pulsar" for place in given if place]
    return _first(places, "" if named else "pulsar")


def _find_postgres(named: str) -> Path | None:
    if named:
        return _first([Path(named) / "postgres"], "")
    usual = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
    return _first(usual, "postgres")


def _find_redis(named: str) -> Path | None:
    if named:
        return _first([Path(named)], "")
    return _first([], "redis-server") or _first([], "valkey-server")


def _first(places: list[Path], program: str) -> Path | None:
    for place in places:
        if os.access(place, os.X_OK):
            return place.resolve()
    found = shutil.which(program) if program else None
    return Path(found).resolve() if found else None


def connection(url: str) -> dict[str, str | int]:
    """``postgresql://user:password@host:port`` as Armada's configuration has it."""
    parts = urlsplit(url if "://" in url else f"postgresql://{url}")
    return {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 5432,
        "user": parts.username or "postgres",
        "password": parts.password or "",
    }


# -- Redis -----------------------------------------------------------------------------------


def _redis(program: Path, keeper: Keeper) -> str:
    folder, port = keeper.state / "redis", free_port()
    folder.mkdir()
    words = [str(program), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    keeper.start("redis", [*words, "--save", "", "--appendonly", "no"], os.environ)
    wait_until(keeper, "redis", lambda: _listens(port))
    return f"127.0.0.1:{port}"


# -- PostgreSQL ------------------------------------------------------------------------------


def _postgres(program: Path, keeper: Keeper) -> dict[str, str | int]:
    """A server with the two databases. It does not run as root, so root lends it to another."""
    user = _other_user() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="batchbridge-postgres-"))
    keeper.update(folders=(*keeper.stack.folders, str(folder)))
    password, port = secrets.token_urlsafe(16), free_port()
    (folder / "password").write_text(password)
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    data = str(folder / "data")
    make = [program.with_name("initdb"), "-D", data, "-U", "postgres", "--auth=scram-sha-256"]
    more = ["--encoding=UTF8", "--locale=C", f"--pwfile={folder / 'password'}", "--no-sync"]
    _run([*map(str, make), *more], user)
    for name in DATABASES:
        _run([str(program), "--single", "-D", data, "postgres"], user, f"CREATE DATABASE {name};\n")
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": 200,
        "fsync": "off",
    }
    flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    keeper.start("postgres", [str(program), "-D", data, *flags], os.environ, cwd=folder, user=user)
    wait_until(keeper, "postgres", lambda: _listens(port))
    return {"host": "127.0.0.1", "port": port, "user": "postgres", "password": password}


def _other_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise Failed("PostgreSQL does not run as root: be another user, or name a server")


def _run(words: list[str], user: str | None, text: str = "") -> None:
    done = subprocess.run(
        words, input=text, text=True, capture_output=True, check=False, cwd="/", **as_user(user)
    )
    if done.returncode != 0 or "ERROR" in done.stderr:
        raise Failed(f"{Path(words[0]).name} failed: {done.stderr.strip()[-500:]}")


# -- Pulsar ----------------------------------------------------------------------------------


def _pulsar(program: Path, keeper: Keeper) -> str:
    folder, port, web = keeper.state / "pulsar", free_port(), free_port()
    folder.mkdir()
    settings: dict[str, str | int] = {
        "brokerServicePort": port,
        "webServicePort": web,
        "bindAddress": "127.0.0.1",
        "advertisedAddress": "localhost",
        "listeningInterface": "lo",
        "allowLoopback": "true",
        "metadataStoreUrl": "",
    }
    config = folder / "standalone.conf"
    config.write_text(_configured(program.parents[1] / "conf" / "standalone.conf", settings))
    env = {
        **os.environ,
        "PULSAR_STANDALONE_CONF": str(config),
        "PULSAR_LOG_DIR": str(folder / "logs"),
        "PULSAR_MEM": MEMORY,
        "PULSAR_GC_LOG": " ",
    }
    places = [f"--metadata-dir={folder / 'metadata'}", f"--bookkeeper-dir={folder / 'bookkeeper'}"]
    ports = [f"--bookkeeper-port={free_port()}"]
    words = [str(program), "standalone", "-nss", "-nfw", *places, *ports]
    keeper.start("pulsar", words, env, cwd=folder)
    wait_until(keeper, "pulsar", lambda: _has_namespace(web))
    return f"pulsar://127.0.0.1:{port}"


def _configured(template: Path, settings: Mapping[str, str | int]) -> str:
    """The lines of `template` with other values for these keys."""
    kept = [
        line
        for line in template.read_text().splitlines()
        if line.partition("=")[0].strip() not in settings
    ]
    return "\n".join([*kept, *(f"{name}={value}" for name, value in settings.items())]) + "\n"


def _has_namespace(web: int) -> bool:
    """Whether topics can be made: the namespace that they stand in is the last to appear."""
    try:
        with urlopen(f"http://127.0.0.1:{web}/admin/v2/namespaces/public", timeout=2) as answer:
            return "public/default" in json.load(answer)
    except (URLError, OSError, ValueError):
        return False


# -- waiting ---------------------------------------------------------------------------------


def wait_until(keeper: Keeper, name: str, holds: Callable[[], bool]) -> None:
    """Return once it holds; Failed, with the end of the log, if the process has ended first."""
    deadline = time.monotonic() + READY_WITHIN
    while not holds():
        ended = name in keeper.stack.dead()
        if ended or time.monotonic() > deadline:
            log = keeper.logs / f"{name}.log"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            how = "has ended" if ended else f"is not ready after {READY_WITHIN:g} s"
            raise Failed(f"{name} {how}\n{tail}")
        time.sleep(0.2)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
