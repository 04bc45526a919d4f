"""Nomad as an engine: one batch job for each submission, one allocation for each attempt.

==============  ===============================================================================
``settings``    how a cluster is reached, and what a job may ask of it
``plan``        what becomes of a submission: where it goes, and what is sent
``jobspec``     submission -> Nomad job, with the ``script`` that it runs; pure
``template``    a user's own job, under which ours is laid
``register``    one job and its secrets, create-only, as a receipt
``api``         the calls: python-nomad over one ``session`` of ours, and ``replies`` as errors
``lists``       all that Nomad knows of jobs, in few calls; as ``jobs`` reads it
``wire``        what Nomad answers, typed
``book``        what is known of the jobs of a namespace, from lists and from the stream
``translate``   what is known of a job -> observations; pure
``explain``     evaluations -> why a job waits; pure
``show``        where people can look for it; pure
``watch``       following a namespace: by its ``events``, or by asking for ``changes``
``logs``        pages of a task's output
==============  ===============================================================================
"""

from __future__ import annotations

from batchbridge_nomad.driver import NomadDriver

__all__ = ["NomadDriver"]
