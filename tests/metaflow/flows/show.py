"""Print a run as JSON, as Metaflow's client sees it: ``show.py FLOW/RUN``."""

import json
import sys
import warnings

warnings.simplefilter("ignore")

from metaflow import Run, namespace  # noqa: E402


def task(one):
    return {
        "id": one.id,
        "ok": one.successful,
        "artifacts": {a.id: a.data for a in one if not a.id.startswith("_")},
        "metadata": [[m.name, m.value] for m in one.metadata],
        "attempt": one.current_attempt,
        "stdout": one.stdout,
        "stderr": one.stderr,
    }


namespace(None)
run = Run(sys.argv[-1])
steps = {step.id: [task(one) for one in step] for step in run}
print(json.dumps({"ok": run.successful, "tags": sorted(run.tags), "steps": steps}, default=repr))
