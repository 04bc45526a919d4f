"""What a token has to be allowed, in the words of a policy. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VARIABLES = 'variables { path "nomad/jobs/*" { capabilities = ["write", "destroy"] } }'
"""The right to hand over secrets."""

CSI = 'csi-mount-volume and plugin { policy = "read" }'
"""The rights to volumes of CSI, beside those of each host volume."""


def to_register(payload: Mapping[str, Any]) -> str:
    """What registers that job. Nomad refuses volumes in the words for whatever else is missing."""
    volumes = payload["Job"]["TaskGroups"][0].get("Volumes") or {}
    more = " and ".join(dict.fromkeys(map(_to_mount, volumes.values())))
    return f"submit-job (and for its volumes {more})" if more else "submit-job"


def _to_mount(volume: Mapping[str, Any]) -> str:
    if volume.get("Type") == "csi":
        return CSI
    mode = "readonly" if volume.get("ReadOnly") else "readwrite"
    return f'host_volume "{volume.get("Source", "")}" {{ capabilities = ["mount-{mode}"] }}'
