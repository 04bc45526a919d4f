"""The variables that a step's job gets: Metaflow's own, by name. Nothing else travels.

Credentials are never among them; they are named as secrets, see :func:`secret_sources`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from metaflow import metaflow_config

WORKLOAD = "METAFLOW_BATCHBRIDGE_WORKLOAD"
"""Set in a job's environment, and nowhere else."""

TRAVELLING = (
    "AZURE_KEY_VAULT_PREFIX",
    "AZURE_STORAGE_BLOB_SERVICE_ENDPOINT",
    "AWS_SECRETS_MANAGER_DEFAULT_REGION",
    "BATCHBRIDGE_CACHE",
    "CARD_AZUREROOT",
    "CARD_GSROOT",
    "CARD_S3ROOT",
    "DATASTORE_SYSROOT_AZURE",
    "DATASTORE_SYSROOT_GS",
    "DATASTORE_SYSROOT_S3",
    "DATATOOLS_S3ROOT",
    "DEFAULT_AWS_CLIENT_PROVIDER",
    "DEFAULT_GCP_CLIENT_PROVIDER",
    "DEFAULT_SECRETS_BACKEND_TYPE",
    "GCP_SECRET_MANAGER_PREFIX",
    "OTEL_ENDPOINT",
    "S3_ENDPOINT_URL",
    "S3_SERVER_SIDE_ENCRYPTION",
)
"""Names of Metaflow's configuration whose values the step needs."""

HEADERS = "METAFLOW_SERVICE_HEADERS"
AWS_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
AWS_PLAIN = ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


def variables(
    *, datastore: str, root: str, metadata: str, user: str, script: str
) -> dict[str, str]:
    """Metaflow's variables for a step that uses that datastore and metadata provider."""
    named = {name: getattr(metaflow_config, name, None) for name in TRAVELLING}
    env = {f"METAFLOW_{name}": str(value) for name, value in named.items() if value}
    env |= {
        name: os.environ[name] for name in AWS_PLAIN if datastore == "s3" and name in os.environ
    }
    if datastore == "local":
        env["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = str(Path(root).parent)
    if metadata == "service" and metaflow_config.SERVICE_INTERNAL_URL:
        env["METAFLOW_SERVICE_URL"] = metaflow_config.SERVICE_INTERNAL_URL
    return env | {
        WORKLOAD: "1",
        "METAFLOW_DEFAULT_DATASTORE": datastore,
        "METAFLOW_DEFAULT_METADATA": metadata,
        "METAFLOW_FLOW_FILENAME": script,
        "METAFLOW_RUNTIME_ENVIRONMENT": "batchbridge",
        "METAFLOW_USER": user,
        "PYTHONUNBUFFERED": "x",
    }


def secret_sources(
    asked: Mapping[str, Any],
    *,
    named: Collection[str],
    datastore: str,
    metadata: str,
    safe: bool,
) -> dict[str, Any]:
    """NAME -> source of every secret that the step gets.

    `asked` is what the decorator names, `named` are the variables that come in another way. Where
    the engine has a safe way (`safe`), or may do without, and the datastore is S3, the launcher's
    AWS credentials are named too; elsewhere the step uses what its machine has. The metadata
    service's headers hold its key: they need such a way.
    """
    found = dict(asked)
    if datastore == "s3" and safe:
        here = [name for name in AWS_SECRETS if os.environ.get(name) and name not in named]
        found = {name: f"env:{name}" for name in here} | found
    if metadata == "service" and metaflow_config.SERVICE_HEADERS and HEADERS not in named:
        found[HEADERS] = f"env:{HEADERS}"
    return found


def offer_headers() -> None:
    """Put the service's headers where the source that `secret_sources` names finds them."""
    if metaflow_config.SERVICE_HEADERS:
        os.environ[HEADERS] = json.dumps(metaflow_config.SERVICE_HEADERS)
