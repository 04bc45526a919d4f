"""Settings of Metaflow's configuration that this extension adds, as ``METAFLOW_<NAME>``."""

from __future__ import annotations

from metaflow.metaflow_config_funcs import from_conf

BATCHBRIDGE_BACKEND = from_conf("BATCHBRIDGE_BACKEND")
