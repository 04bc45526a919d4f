"""Broken drivers, and a broken core: each one a bug that somebody had, and the tests that see it.

Each driver here is the reference driver but for one mistake. What `caught_by` names is exactly what
fails of the kit, but for `perhaps_by`, where timing decides; ``test_teeth.py`` runs it.
"""

from tests.testing.mutants import core, endings, logs, observing, submitting, watching
from tests.testing.mutants.registry import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant", "core", "endings", "logs", "observing", "submitting", "watching"]
