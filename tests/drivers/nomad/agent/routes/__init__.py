"""Each call of the API that is known here, as it is asked and as it is answered."""

from __future__ import annotations

from tests.drivers.nomad.agent.routes import allocations, jobs, operator, variables
from tests.drivers.nomad.agent.routes.how import answer

__all__ = ["allocations", "answer", "jobs", "operator", "variables"]
