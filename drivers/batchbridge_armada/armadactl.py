"""The connection that armadactl's own configuration file describes.

``pkg/client/command_line.go`` and ``connection.go`` of Armada say how it is read: one context, or
the whole file where it has none; capitals do not count. What needs a browser, or the identity of a
pod, is refused, and named.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchbridge.errors import AuthError, ConfigError, SpecError
from batchbridge.values import check_text, convert, suggestion
from batchbridge_armada import oidc
from batchbridge_armada.fetched import Fetched, Token
from batchbridge_armada.files import UNREADABLE, unreadable
from batchbridge_armada.identity import Source
from batchbridge_armada.settings import ArmadaSettings

COMMAND_SECONDS = 600.0
"""How long a command may take to print a token: it may have to ask somebody."""

REFUSED = ("openidauth", "openiddeviceauth", "openidkubernetesauth", "kubernetesnativeauth")
"""Ways that need a browser, or the identity of a pod."""

BY_COMMAND = "set token_command to a command that prints a token instead of armadactl_config"


@dataclass(frozen=True, slots=True)
class Basic:
    """``basicAuth``."""

    username: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a command."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Command:
    """``execAuth``: what prints a token."""

    cmd: str = ""
    args: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()
    interactive: bool = False


@dataclass(frozen=True, slots=True)
class Client:
    """``openIdClientCredentialsAuth`` and ``openIdPasswordAuth``."""

    providerurl: str = ""
    clientid: str = ""
    clientsecret: str = ""
    username: str = ""
    password: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What of one context is understood here."""

    armadaurl: str = "localhost:50051"
    forcenotls: bool = False
    basicauth: Basic = Basic()
    execauth: Command = Command()
    openidpasswordauth: Client = Client()
    openidclientcredentialsauth: Client = Client()


def login(settings: ArmadaSettings) -> tuple[ArmadaSettings, Source | None]:
    """The settings that the file stands for, and where the token is from if they do not say it."""
    if not settings.armadactl_config:
        return settings, None
    path = Path(settings.armadactl_config)
    context = _context(_read(path), settings.armadactl_context, path)
    basic = context.basicauth
    try:
        reached = replace(
            settings,
            armadactl_config="",
            armadactl_context="",
            address=context.armadaurl.removeprefix("dns:///"),
            tls="off" if context.forcenotls else settings.tls,
            username=basic.username,
            password=basic.password if basic.username else "",
        )
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    return reached, None if basic.username else _source(reached, context)


def _source(settings: ArmadaSettings, context: Context) -> Source | None:
    """The token's source, in the order in which armadactl looks for one."""
    user, client = context.openidpasswordauth, context.openidclientcredentialsauth
    if user.providerurl:
        return oidc.password_grant(_provider(settings, user), user.username, user.password)
    if client.providerurl:
        secret = client.clientsecret
        return oidc.client_credentials(
            replace(_provider(settings, client), oidc_client_secret=secret)
        )
    command = context.execauth
    return Fetched(lambda: Token(_printed(command))) if command.cmd else None


def _provider(settings: ArmadaSettings, client: Client) -> ArmadaSettings:
    return replace(
        settings,
        oidc_provider=client.providerurl,
        oidc_client_id=client.clientid,
        oidc_scopes=" ".join(client.scopes),
    )


def _printed(command: Command) -> str:
    """What the command prints; its errors, and its questions, are the user's to see."""
    shown = shlex.join((command.cmd, *command.args))
    try:
        done = subprocess.run(
            (command.cmd, *command.args),
            env={**os.environ, **{variable.name: variable.value for variable in command.env}},
            stdin=None if command.interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=COMMAND_SECONDS,
            check=True,
            text=True,
        )
    except subprocess.TimeoutExpired:
        raise AuthError(f"{shown!r} printed no token in {COMMAND_SECONDS:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise AuthError(f"{shown!r} ended with {error.returncode}") from None
    except UnicodeDecodeError:
        raise AuthError(f"what {shown!r} printed is no token: it is not UTF-8") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{shown!r} cannot be run: {error}") from None
    token = done.stdout.strip()
    if not token:
        raise AuthError(f"{shown!r} printed no token")
    return token


# -- the file --------------------------------------------------------------------------------


def _read(path: Path) -> Mapping[str, Any]:
    import yaml  # here: it is slow to import, and few need it

    try:
        found = _lowered(yaml.safe_load(path.expanduser().read_text("utf-8")) or {})
    except (*UNREADABLE, UnicodeDecodeError, yaml.YAMLError) as error:
        raise unreadable("armadactl_config", path, error) from error
    except SpecError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(found, Mapping):
        raise ConfigError(f"armadactl_config: {path} is no configuration of armadactl")
    return found


def _context(file: Mapping[str, Any], name: str, path: Path) -> Context:
    """The context of that name, else the current one, else the whole file."""
    chosen = (name or str(file.get("currentcontext") or "")).lower()
    contexts = _mapping(file.get("contexts") or {}, f"{path}: contexts")
    if chosen and chosen not in contexts:
        raise ConfigError(
            f"{path} has no context {chosen!r}{suggestion(chosen, contexts)}",
            remedy=f"set armadactl_context to one of {', '.join(contexts)}" if contexts else "",
        )
    where = f"{path}: contexts.{chosen}" if chosen else str(path)
    found = _mapping(contexts[chosen], where) if chosen else file
    refused = next((way for way in found if way in REFUSED or "kerberos" in way), None)
    if refused and found[refused]:
        raise ConfigError(f"{where}: {refused} is not supported here", remedy=BY_COMMAND)
    try:
        context: Context = convert(found, Context)
    except SpecError as error:
        raise ConfigError(f"{where}: {error}") from None
    return context


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is no mapping")
    return value


def _lowered(value: Any, path: str = "") -> Any:
    """The same with the names of all its fields in small letters. SpecError for what is no text."""
    if isinstance(value, Mapping):
        inside = f"{path}." if path else ""
        return {str(k).lower(): _lowered(inner, f"{inside}{k}") for k, inner in value.items()}
    if isinstance(value, str):
        check_text(path, value)
    return [_lowered(one, path) for one in value] if isinstance(value, list) else value
