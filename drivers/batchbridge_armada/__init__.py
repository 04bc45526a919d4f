"""Armada as an engine: one Armada job for each submission, one job set for each job set.

==============  ===============================================================================
``settings``    how an Armada is reached, and what a job may ask of it
``jobspec``     submission -> what SubmitJobs takes, as JSON values; pure
``protocol``    Armada's messages and stubs, imported when first needed
``channel``     connections: encryption, keepalive, who we are
``api``         the calls, with ``replies`` as errors
``translate``   what Armada says of a job -> observations; pure
``ids``         what the ids of jobs and of messages tell; pure
``logs``        pages of a job's output, from Binoculars; ``explain``: why a job waits; pure
==============  ===============================================================================
"""

from __future__ import annotations

from batchbridge_armada.driver import ArmadaDriver

__all__ = ["ArmadaDriver"]
