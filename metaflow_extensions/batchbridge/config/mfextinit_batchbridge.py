"""Settings of Metaflow's configuration that this extension adds, as ``METAFLOW_<NAME>``."""

from __future__ import annotations

from metaflow.metaflow_config_funcs import from_conf

from metaflow_extensions.batchbridge.plugins import engines  # a module: Metaflow takes the rest

BATCHBRIDGE_BACKEND = from_conf("BATCHBRIDGE_BACKEND")
"""The profile or backend of ``@batchbridge`` where the step names none."""

BATCHBRIDGE_CACHE = from_conf("BATCHBRIDGE_CACHE")
"""Where the machines that run steps keep unpacked code packages; default: the user's cache."""

globals().update(
    {name: from_conf(name) for engine in engines.ENGINES.values() for name in engine.variables}
)
