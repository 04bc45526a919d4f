"""Armada as an engine: one Armada job for each submission, one job set for each job set.

==============  ===============================================================================
``settings``    how an Armada is reached, and what a job may ask of it
``jobspec``     submission -> what SubmitJobs takes, as JSON values, with the ``script``; pure
``orders``      each submission's item, what many share written once
``submitting``  handing jobs over by the hundred; ``inflight``: no key twice at once
``snapshot``    what queries say, completed from the stream
``translate``   what Armada says of a job -> observations; ``listing``: of a whole job set; pure
``ids``         what the ids of jobs and of messages tell; pure
``pages``       where a run's output is; ``logs``: its lines -> pages; pure
``explain``     why a job is where it is; ``about``: what its pieces are called; pure
``health``      what ``doctor`` looks at; ``libraries``: the versions of what calls go through
``identity``    who we are; ``oidc``, ``armadactl`` and ``fetched``: where our tokens are from
``refusals``    answers that are told apart
``api``         the calls; what it imports is there only once the first call is made:
``protocol``    Armada's messages and stubs, from its client library
``channel``     connections: encryption and keepalive; ``stream``: one that goes on
``wire``        JSON values -> messages; ``loglines``: lines of output that need not be text
``replies``     gRPC's errors -> errors
==============  ===============================================================================
"""

from __future__ import annotations

from batchbridge_armada.driver import ArmadaDriver

__all__ = ["ArmadaDriver"]
