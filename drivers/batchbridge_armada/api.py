"""The calls to Armada. Each has a deadline, raises errors of :mod:`batchbridge.errors`, and is
sent once; only a refused credential is read again before the call is sent a second time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import StringValue

from batchbridge.errors import LogsUnavailable
from batchbridge_armada import armadactl, replies, wire
from batchbridge_armada.channel import connect
from batchbridge_armada.identity import Identity, Metadata
from batchbridge_armada.jobspec import CONTAINER, Own
from batchbridge_armada.loglines import parse_reply
from batchbridge_armada.logs import LogReply
from batchbridge_armada.protocol import (
    binoculars_pb2,
    core_pb2,
    event_pb2,
    event_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    submit_pb2,
    submit_pb2_grpc,
)
from batchbridge_armada.refusals import Missing, NoQueue, Refused, Unauthorized
from batchbridge_armada.settings import ArmadaSettings
from batchbridge_armada.stream import Stream

T = TypeVar("T")

QUERY = 500
"""Ids that one query may ask for."""

REASON = 50
"""Bytes of a reason that Armada takes."""


class Api:
    """One Armada, as one identity. Safe from several threads; connects at the first call."""

    def __init__(self, settings: ArmadaSettings) -> None:
        self._settings, source = armadactl.login(settings)
        self._identity = Identity(self._settings, source)
        self._lock = threading.Lock()
        self._channels: dict[str, grpc.Channel] = {}

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._settings.address

    @property
    def _asked(self) -> str:
        return f"Armada at {self.address}"

    def close(self) -> None:
        """Let go of every connection."""
        with self._lock:
            channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.close()

    # -- jobs --------------------------------------------------------------------------------

    def item(self, values: Mapping[str, Any], *, template: bool) -> submit_pb2.JobSubmitRequestItem:
        """The message of these JSON values; SpecError where there is none."""
        return wire.item(values, template=template)

    def joined(
        self, shared: submit_pb2.JobSubmitRequestItem, own: Own
    ) -> submit_pb2.JobSubmitRequestItem:
        """The message of a job, from what it shares with others; SpecError if it is too large."""
        return wire.joined(shared, own)

    def submit(
        self, queue: str, job_set: str, items: Sequence[submit_pb2.JobSubmitRequestItem]
    ) -> list[str]:
        """Hand the jobs over; their ids, in order. One that is refused refuses all: Refused."""
        request = submit_pb2.JobSubmitRequest(
            queue=queue, job_set_id=job_set, job_request_items=items
        )
        answer = self._call(submit_pb2_grpc.SubmitStub(self._server()).SubmitJobs, request)
        for said in answer.job_response_items:
            if said.error:
                raise Refused(said.error)
        return [said.job_id for said in answer.job_response_items]

    def cancel(self, queue: str, job_set: str, ids: Sequence[str], *, reason: str) -> None:
        """Ask for the end of these jobs. No ids would mean the whole job set, so none asks none."""
        stub = submit_pb2_grpc.SubmitStub(self._server())
        for some in _chunks(ids, QUERY):
            request = submit_pb2.JobCancelRequest(
                queue=queue, job_set_id=job_set, job_ids=some, reason=_cut(reason, REASON)
            )
            self._call(stub.CancelJobs, request)

    def cancel_set(self, queue: str, job_set: str, *, reason: str) -> None:
        """Ask for the end of every job that the set has now; later ones are untouched."""
        request = submit_pb2.JobSetCancelRequest(
            queue=queue, job_set_id=job_set, reason=_cut(reason, REASON)
        )
        self._call(submit_pb2_grpc.SubmitStub(self._server()).CancelJobSet, request)

    def preempt(self, queue: str, job_set: str, ids: Sequence[str], *, reason: str) -> None:
        """Ask that these jobs give up their places. Armada does not say whether they can."""
        stub = submit_pb2_grpc.SubmitStub(self._server())
        for some in _chunks(ids, QUERY):
            request = submit_pb2.JobPreemptRequest(
                queue=queue, job_set_id=job_set, job_ids=some, reason=_cut(reason, REASON)
            )
            self._call(stub.PreemptJobs, request)

    def reprioritise(self, queue: str, job_set: str, ids: Sequence[str], priority: float) -> None:
        """Give these jobs another priority. No ids would mean the whole job set."""
        stub = submit_pb2_grpc.SubmitStub(self._server())
        for some in _chunks(ids, QUERY):
            request = submit_pb2.JobReprioritizeRequest(
                queue=queue, job_set_id=job_set, job_ids=some, new_priority=priority
            )
            self._call(stub.ReprioritizeJobs, request)

    def states(self, ids: Collection[str]) -> dict[str, str]:
        """The state of each job, by name; UNKNOWN of one that is not known, or not yet."""
        stub, states = job_pb2_grpc.JobsStub(self._server()), {}
        for some in _chunks(ids, QUERY):
            answer = self._call(stub.GetJobStatus, job_pb2.JobStatusRequest(job_ids=some))
            for job_id, state in answer.job_states.items():
                states[job_id] = submit_pb2.JobState.Name(state)
        return states

    def details(self, ids: Collection[str], *, spec: bool = False) -> dict[str, job_pb2.JobDetails]:
        """What is known of each job and its runs; nothing of one that is not known."""
        stub, details = job_pb2_grpc.JobsStub(self._server()), {}
        for some in _chunks(ids, QUERY):
            request = job_pb2.JobDetailsRequest(
                job_ids=some, expand_job_run=True, expand_job_spec=spec
            )
            details.update(self._call(stub.GetJobDetails, request).job_details)
        return details

    def state(self, job: job_pb2.JobDetails) -> str:
        """The name of the state that its details tell."""
        return submit_pb2.JobState.Name(job.state)

    def run_state(self, run: job_pb2.JobRunDetails) -> str:
        """The name of the state that a run's details tell."""
        return job_pb2.JobRunState.Name(run.state)

    def errors(self, ids: Collection[str]) -> dict[str, str]:
        """Why these jobs failed, in Armada's words."""
        stub, errors = job_pb2_grpc.JobsStub(self._server()), {}
        for some in _chunks(ids, QUERY):
            answer = self._call(stub.GetJobErrors, job_pb2.JobErrorsRequest(job_ids=some))
            errors.update(answer.job_errors)
        return errors

    def report(self, job_id: str) -> str:
        """What the scheduler says of a job. (The client library has no stub for it.)"""
        # Request and answer are messages of one string, as StringValue is.
        ask = self._server().unary_unary(
            "/schedulerobjects.SchedulerReporting/GetJobReport",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )
        answer: StringValue = self._call(ask, StringValue(value=job_id))
        return answer.value

    # -- job sets and queues -----------------------------------------------------------------

    def events(self, queue: str, job_set: str, after: str, *, watch: bool) -> Stream:
        """What happened in a job set after that message; with `watch`, what happens then too.

        A job set that Armada has not heard of yet is one where nothing happened.
        """
        request = event_pb2.JobSetRequest(
            queue=queue,
            id=job_set,
            from_message_id=after,
            watch=watch,
            errorIfMissing=False,
        )
        stub = event_pb2_grpc.EventStub(self._server())
        return Stream(stub.GetJobSetEvents, request, self._identity, self._asked)

    def queue_exists(self, queue: str) -> bool:
        """Whether Armada has that queue."""
        stub = submit_pb2_grpc.QueueServiceStub(self._server())
        try:
            self._call(stub.GetQueue, submit_pb2.QueueGetRequest(name=queue))
        except (Missing, NoQueue):
            return False
        return True

    def health(self) -> None:
        """Raises unless Armada answers."""
        self._call(submit_pb2_grpc.SubmitStub(self._server()).Health, Empty())

    # -- logs --------------------------------------------------------------------------------

    def logs(self, cluster: str, job_id: str, namespace: str, since: str) -> LogReply:
        """The lines of a job's output from that second on, at most 2 MB."""
        address = self.binoculars(cluster)
        ask = self._channel(address, keepalive=False).unary_unary(
            "/binoculars.Binoculars/Logs",
            request_serializer=binoculars_pb2.LogRequest.SerializeToString,
            response_deserializer=parse_reply,
        )
        request = binoculars_pb2.LogRequest(
            job_id=job_id,
            pod_namespace=namespace,
            since_time=since,
            log_options=core_pb2.PodLogOptions(container=CONTAINER),
        )
        reply: LogReply = self._call(ask, request, asked=f"Binoculars at {address}")
        return reply

    def binoculars(self, cluster: str) -> str:
        """Where the logs of that cluster are; LogsUnavailable if nobody said."""
        settings = self._settings
        address = settings.binoculars_of.get(cluster, settings.binoculars)
        if not address:
            raise LogsUnavailable(
                f"no address of Binoculars is set for the cluster {cluster!r}",
                remedy="set binoculars, or binoculars_of for this cluster",
            )
        return address.replace("{cluster_id}", cluster)

    # -- how ---------------------------------------------------------------------------------

    def _call(self, method: Any, request: Any, *, asked: str = "") -> Any:
        def ask(metadata: Metadata) -> Any:
            return method(request, timeout=self._settings.request_timeout, metadata=metadata)

        return self._identified(ask, asked or self._asked)

    def _identified(self, ask: Callable[[Metadata], T], asked: str) -> T:
        value = self._identity.credential()
        try:
            return _translated(ask, self._identity.metadata(value), asked)
        except Unauthorized:
            if not self._identity.refused(value):
                raise
            another = self._identity.credential()
            return _translated(ask, self._identity.metadata(another), asked)

    def _server(self) -> grpc.Channel:
        return self._channel(self.address, keepalive=True)

    def _channel(self, address: str, *, keepalive: bool) -> grpc.Channel:
        with self._lock:
            if address not in self._channels:
                self._channels[address] = connect(self._settings, address, keepalive=keepalive)
            return self._channels[address]


def _translated(ask: Callable[[Metadata], T], metadata: Metadata, asked: str) -> T:
    try:
        return ask(metadata)
    except grpc.RpcError as error:
        raise replies.problem(error, asked) from error


def _chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(ids)
    while some := list(islice(rest, size)):
        yield some


def _cut(text: str, size: int) -> str:
    """The beginning of `text` that has at most `size` bytes, in whole characters."""
    return text.encode()[:size].decode(errors="ignore")
