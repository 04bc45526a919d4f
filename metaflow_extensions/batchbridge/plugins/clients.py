"""The client for a target: its profile, under what Metaflow's configuration says of the engine.

A profile that the step names stands as it is. Elsewhere METAFLOW_<ENGINE>_* come before the files'
``[profile.<engine>]`` and the engine's own variables; and a credential that is configured there
goes to no address that the step itself names.
"""

from __future__ import annotations

from typing import Any

from batchbridge import Client
from batchbridge.errors import ConfigError

from .engines import ENGINES
from .tables import Engine
from .targets import Target


def connect(target: Target) -> Client:
    """A client that submits there; no I/O."""
    return Client(target.profile, settings=settings(target), journal=False)


def settings(target: Target) -> dict[str, Any]:
    """The settings that stand over the profile's. ConfigError where one cannot be read."""
    engine, told = ENGINES[target.engine], dict(target.told)
    if target.named or not engine.variables:
        return engine.settings(told)
    return engine.settings(engine.reached(_configured(engine), told))


def _configured(engine: Engine) -> dict[str, Any]:
    try:
        from metaflow import metaflow_config
    except ImportError as error:
        raise ConfigError(f"Metaflow's configuration cannot be read here: {error}") from None
    try:
        return engine.configured(vars(metaflow_config))
    except ValueError as error:
        raise ConfigError(str(error)) from None
