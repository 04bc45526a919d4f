"""Where else to look: a job's page, and the commands of Nomad's that show it. Pure."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from batchbridge_nomad.api import Place
from batchbridge_nomad.session import UNIX
from batchbridge_nomad.wire import TASK, Alloc


def job(address: str, place: Place, job_id: str) -> dict[str, str]:
    """The job in Nomad's web pages, and the commands that show it."""
    page = {} if address.startswith(UNIX) else {"ui": _page(address, place, job_id)}
    return {
        **page,
        "status": f"nomad job status {_flags(place)} {job_id}",
        "logs": f"nomad alloc logs {_flags(place)} -job {job_id}",
    }


def attempt(place: Place, alloc: Alloc, datacenter: str) -> dict[str, str]:
    """The allocation and where it is, and the commands that show it and its output."""
    at = f"{_flags(place)} {alloc.id}"
    said = {
        "allocation": alloc.id,
        "node": alloc.node_name,
        "datacenter": datacenter,
        "status": f"nomad alloc status {at}",
        "stdout": f"nomad alloc logs {at} {TASK}",
        "stderr": f"nomad alloc logs -stderr {at} {TASK}",
    }
    return {label: words for label, words in said.items() if words}


def _page(address: str, place: Place, job_id: str) -> str:
    region = f"?{urlencode({'region': place.region})}" if place.region else ""
    return f"{address.rstrip('/')}/ui/jobs/{quote(f'{job_id}@{place.namespace}', safe='@')}{region}"


def _flags(place: Place) -> str:
    return " ".join(f"-{name} {value}" for name, value in place.params.items())
