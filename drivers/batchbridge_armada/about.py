"""What Armada's pieces of a job are called, and the commands that show them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armada_client.armada.job_pb2 import JobDetails, JobRunDetails


def pod_name(job_id: str) -> str:
    """The name of the pod in which a job runs, each time."""
    return f"armada-{job_id}-0"


def kubectl(words: str, job_id: str, namespace: str, cluster: str = "") -> str:
    """A command about a job's pod; a cluster's context is assumed to have the cluster's name."""
    context = f"--context {cluster} " if cluster else ""
    return f"kubectl {context}-n {namespace} {words} {pod_name(job_id)}"


def pieces(job: JobDetails) -> dict[str, str]:
    """What the last run of a job consists of: label -> name, or command; empty without a run."""
    run = last_run(job)
    if run is None:
        return {}
    named = {
        "cluster": run.cluster,
        "node": run.node,
        "namespace": job.namespace,
        "pod": pod_name(job.job_id),
        "run": run.run_id,
        "logs": kubectl("logs", job.job_id, job.namespace, run.cluster),
    }
    return {label: name for label, name in named.items() if name}


def last_run(job: JobDetails) -> JobRunDetails | None:
    """The run that began last."""
    return next((run for run in job.job_runs if run.run_id == job.latest_run_id), None)
