"""The four names that this extension adds. Importing it imports no driver, nor batchbridge."""

from __future__ import annotations

NAMES = ("local_batch", "batchbridge", "nomad", "armada")

STEP_DECORATORS_DESC = [
    ("local_batch", ".decorators.LocalBatchDecorator"),
    ("batchbridge", ".decorators.BatchBridgeDecorator"),
    ("nomad", ".decorators.NomadDecorator"),
    ("armada", ".decorators.ArmadaDecorator"),
]

# Metaflow before 2.19.23 knows only the first of the two lists.
CLIS_DESC = [(name, f".cli.{name}_cli") for name in NAMES]
TRAMPOLINE_CLIS_DESC = list(CLIS_DESC)
