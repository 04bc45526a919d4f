"""Whether a step's job runs in a container, and in which image where the step names none."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from metaflow import metaflow_config

from batchbridge.settings import Resolved

CONTAINERS = ("docker", "podman")
"""Nomad's task drivers that run an image."""

NAMED = re.compile(r"""(?:\bdriver\s*=|"Driver"\s*:)\s*"([\w-]+)\"""")
"""Where a template of Nomad's, HCL or JSON, names a task driver."""

IMAGE = re.compile(r'\bimage"?\s*:')
"""Where a pod of Armada's, YAML or JSON, names an image."""


def contained(contained_by_default: bool, form: Mapping[str, Any], resolved: Resolved) -> bool:
    """Whether the job runs in a container, as far as can be told here."""
    options = {**resolved.options, **form.get("options", {})}
    if not resolved.driver_cls.capabilities.image:
        return False
    driver = options.get("driver") or driver_of(options.get("template"))
    if driver:
        return driver in CONTAINERS
    return contained_by_default or bool(form.get("image") or resolved.job.get("image"))


def driver_of(template: object) -> str | None:
    """The one task driver that this text, or the file of this name, speaks of."""
    named = {*NAMED.findall(_text(template))}
    return named.pop() if len(named) == 1 else None


def _text(template: object) -> str:
    """What a template says: a mapping, a text, or the file of that name."""
    if not isinstance(template, str):
        return json.dumps(template or {})
    if not ("\n" in template or template.lstrip().startswith("{")):
        with suppress(OSError, RuntimeError, UnicodeDecodeError):  # of which the driver will speak
            return Path(template).expanduser().read_text("utf-8")
    return template


def with_image(
    form: Mapping[str, Any], resolved: Resolved, configured: str | None
) -> dict[str, Any]:
    """The form of a contained job, with an image: its own, the profile's, the configured one.

    Else the image of this Python's version, unless a template may name another.
    """
    options = {**resolved.options, **form.get("options", {})}
    given = form.get("image") or resolved.job.get("image") or options.get("config", {}).get("image")
    templated = options.get("template") or IMAGE.search(_text(options.get("pod")))
    usual = None if templated else metaflow_config.DEFAULT_CONTAINER_IMAGE or python_image()
    image = None if given else configured or usual
    return {**form, "image": image} if image else dict(form)


def python_image() -> str:
    """The official image of this Python's version."""
    return f"python:{sys.version_info.major}.{sys.version_info.minor}"
