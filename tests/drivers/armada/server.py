"""gRPC in front of :mod:`tests.drivers.armada.cluster`, with the errors that Armada gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from armada_client.armada import health_pb2
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import StringValue

from batchbridge_armada.protocol import (
    binoculars_pb2,
    event_pb2,
    event_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    submit_pb2,
    submit_pb2_grpc,
)
from batchbridge_armada.wire import POD_LIMIT
from tests.drivers.armada.cluster import Cluster, Job

LOG_BYTES = 2_000_000
AMOUNT = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")

Fault = Callable[[event_pb2.JobSetRequest, grpc.ServicerContext], None]


class Armada:
    """A server on this machine, at `port` or at a free one.

    `faults` are called, once each, by GetJobSetEvents before it answers; `cut` are numbers of
    messages after which an answer breaks off. With `token` or `authorization` set, calls that do
    not bring it are refused. `submitting` is called by each SubmitJobs; the answers of the next
    `lost` of them never arrive.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        cpu: float = 16.0,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.cluster = Cluster(cpu)
        self.token = ""
        self.authorization = ""
        self.calls: list[tuple[str, object]] = []
        self.faults: list[Fault] = []
        self.cut: list[int] = []
        self.gone: set[str] = set()
        self.forbidden: set[str] = set()
        self.submitting: Callable[[], object] = bool
        self.lost = 0
        self._pool = ThreadPoolExecutor(64)
        self._server = grpc.server(self._pool, interceptors=[_Watchman(self)])
        submit_pb2_grpc.add_SubmitServicer_to_server(_Submit(self), self._server)
        submit_pb2_grpc.add_QueueServiceServicer_to_server(_Queues(self), self._server)
        event_pb2_grpc.add_EventServicer_to_server(_Events(self), self._server)
        job_pb2_grpc.add_JobsServicer_to_server(_Jobs(self), self._server)
        self._server.add_generic_rpc_handlers(_others(self))
        self.address = f"127.0.0.1:{self._listen(port, credentials)}"
        self._server.start()

    def _listen(self, port: int, credentials: grpc.ServerCredentials | None) -> int:
        if credentials is None:
            return self._server.add_insecure_port(f"127.0.0.1:{port}")
        return self._server.add_secure_port(f"127.0.0.1:{port}", credentials)

    def close(self) -> None:
        """End every job and every call."""
        self.cluster.close()
        self._server.stop(0).wait()
        self._pool.shutdown()

    def asked(self, method: str) -> list:
        """The requests of one method."""
        return [request for name, request in self.calls if name == method]


class _Watchman(grpc.ServerInterceptor):
    """Refuses who has not the token, or is not the one that is waited for."""

    def __init__(self, armada: Armada) -> None:
        self._armada = armada

    def intercept_service(self, continuation, details):
        given = dict(details.invocation_metadata).get("authorization", "")
        token = self._armada.token and f"Bearer {self._armada.token}"
        wanted = self._armada.authorization or token
        if wanted and given != wanted:
            return grpc.unary_unary_rpc_method_handler(_unauthenticated)
        return continuation(details)


def _unauthenticated(request: object, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request unauthenticated with bearer")


class _Submit(submit_pb2_grpc.SubmitServicer):
    def __init__(self, armada: Armada) -> None:
        self._armada = armada

    def SubmitJobs(self, request, context):
        self._armada.calls.append(("SubmitJobs", request))
        if request.queue in self._armada.forbidden:
            words = (
                f"bob lacks permission submit required for action submit for queue {request.queue};"
                f" user bob cannot perform action submit on queue {request.queue} as they are"
                " neither explicitly permissioned on the queue or a member of submit_any_jobs group"
            )
            context.abort(grpc.StatusCode.PERMISSION_DENIED, words)
        if request.queue not in self._armada.cluster.queues:
            words = f'could not find queue "{request.queue}"'
            context.abort(grpc.StatusCode.PERMISSION_DENIED, words)
        if any(map(_unreadable, request.job_request_items)):
            words = f"grpc: error unmarshalling request: quantities must match '{AMOUNT.pattern}'"
            context.abort(grpc.StatusCode.INTERNAL, words)
        for item in request.job_request_items:
            problem = _problem(item)
            if problem:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        cluster, items = self._armada.cluster, request.job_request_items
        originals = cluster.originals(request.queue, items)
        self._armada.submitting()
        job_ids = cluster.submit(request.queue, request.job_set_id, items, originals)
        if self._armada.lost:
            self._armada.lost -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "transport is closing")
        answers = [submit_pb2.JobSubmitResponseItem(job_id=job_id) for job_id in job_ids]
        return submit_pb2.JobSubmitResponse(job_response_items=answers)

    def CancelJobs(self, request, context):
        self._armada.calls.append(("CancelJobs", request))
        if len(request.reason.encode()) > 50:
            words = "reason cannot be longer than 50 bytes"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, words)
        assert request.job_ids, "this would cancel the whole job set"
        for job_id in request.job_ids:
            self._armada.cluster.cancel(job_id, request.reason)
        return submit_pb2.CancellationResult(cancelled_ids=request.job_ids)

    def CancelJobSet(self, request, context):
        self._armada.calls.append(("CancelJobSet", request))
        cluster = self._armada.cluster
        for job in list(cluster.jobs.values()):
            if (job.queue, job.job_set) == (request.queue, request.job_set_id):
                cluster.cancel(job.id, request.reason)
        return Empty()

    def PreemptJobs(self, request, context):
        self._armada.calls.append(("PreemptJobs", request))
        for job_id in request.job_ids:
            self._armada.cluster.preempt(job_id, request.reason)
        return submit_pb2.PreemptionResult(preemption_results=dict.fromkeys(request.job_ids, ""))

    def ReprioritizeJobs(self, request, context):
        self._armada.calls.append(("ReprioritizeJobs", request))
        assert request.job_ids, "this would change the whole job set"
        for job_id in request.job_ids:
            self._armada.cluster.reprioritise(job_id, request.new_priority)
        results = dict.fromkeys(request.job_ids, "")
        return submit_pb2.JobReprioritizeResponse(reprioritization_results=results)

    def Health(self, request, context):
        return health_pb2.HealthCheckResponse(status="SERVING")


def _unreadable(item) -> bool:
    """Whether an amount is none: gRPC itself refuses the request, since Go's type reads it."""
    containers = [container for pod in item.pod_specs for container in pod.containers]
    amounts = [one.string for c in containers for one in c.resources.requests.values()]
    return not all(map(AMOUNT.fullmatch, amounts))


def _problem(item) -> str:
    """Why Armada refuses this job: ``internal/server/submit/validation/submit_request.go``."""
    if not item.namespace:
        return "namespace is a required field"
    if len(item.pod_specs) != 1:
        return "Jobs with multiple pods are not supported"
    if item.pod_specs[0].ByteSize() > POD_LIMIT:
        return "Pod spec has a size of … bytes which is greater than the maximum allowed size"
    for container in item.pod_specs[0].containers:
        if not container.resources.requests:
            return f"container {container.name} has no resources specified"
        if dict(container.resources.requests) != dict(container.resources.limits):
            return f"container {container.name} defines different resources for requests and limits"
        memory = container.resources.requests["memory"].string or "1Gi"
        if memory.isdecimal() and int(memory) < 1 << 20:
            return (
                f'container "{container.name}" memory requests ({memory})'
                " below server minimum (1Mi)"
            )
    return "client id is too long" if len(item.client_id) > 100 else ""


class _Queues(submit_pb2_grpc.QueueServiceServicer):
    def __init__(self, armada: Armada) -> None:
        self._armada = armada

    def GetQueue(self, request, context):
        if request.name not in self._armada.cluster.queues:
            context.abort(grpc.StatusCode.NOT_FOUND, f"could not find queue {request.name}")
        return submit_pb2.Queue(name=request.name)

    def CreateQueue(self, request, context):
        if request.name in self._armada.cluster.queues:
            words = f"queue {request.name} already exists"
            context.abort(grpc.StatusCode.ALREADY_EXISTS, words)
        self._armada.cluster.queues.add(request.name)
        return Empty()


class _Events(event_pb2_grpc.EventServicer):
    def __init__(self, armada: Armada) -> None:
        self._armada = armada

    def GetJobSetEvents(self, request, context) -> Iterator[event_pb2.EventStreamMessage]:
        armada = self._armada
        armada.calls.append(("GetJobSetEvents", request))
        if armada.faults:
            armada.faults.pop(0)(request, context)
        left = armada.cut.pop(0) if armada.cut and request.watch else None
        for message in self._messages(request, context):
            if left == 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "transport is closing")
            left = None if left is None else left - 1
            yield message

    def _messages(self, request, context) -> Iterator[event_pb2.EventStreamMessage]:
        cluster, told = self._armada.cluster, 0
        begin = [int(part) for part in (request.from_message_id or "0:0:0:1").split(":")[:3]]
        while context.is_active() and not cluster.closed:
            with cluster.changed:
                stream = cluster.streams.get((request.queue, request.id), [])
                news = stream[told:]
                if not news and request.watch:
                    cluster.changed.wait(0.2)
            told += len(news)
            for message in news:
                if [int(part) for part in message.id.split(":")[:3]] > begin:
                    yield message
            if not request.watch:
                return


class _Jobs(job_pb2_grpc.JobsServicer):
    def __init__(self, armada: Armada) -> None:
        self._armada = armada

    def _known(self, request, context) -> list[Job]:
        self._armada.calls.append((type(request).__name__, request))
        if len(request.job_ids) > 500:
            context.abort(grpc.StatusCode.UNKNOWN, "request contained more than 500 jobIds")
        jobs = self._armada.cluster.jobs
        return [jobs[job_id] for job_id in request.job_ids if job_id in jobs]

    def GetJobStatus(self, request, context):
        known = {job.id: job.state for job in self._known(request, context)}
        states = {job_id: known.get(job_id, "UNKNOWN") for job_id in request.job_ids}
        return job_pb2.JobStatusResponse(
            job_states={id: submit_pb2.JobState.Value(state) for id, state in states.items()}
        )

    def GetJobDetails(self, request, context):
        with self._armada.cluster.changed:
            details = {job.id: _details(job, request) for job in self._known(request, context)}
        return job_pb2.JobDetailsResponse(job_details=details)

    def GetJobErrors(self, request, context):
        errors = {job.id: job.error for job in self._known(request, context) if job.error}
        return job_pb2.JobErrorsResponse(job_errors=errors)


def _details(job: Job, request) -> job_pb2.JobDetails:
    return job_pb2.JobDetails(
        job_id=job.id,
        queue=job.queue,
        jobset=job.job_set,
        namespace=job.item.namespace,
        state=job.state,
        submitted_ts=job.submitted,
        cancel_reason=job.reason,
        cancel_user="anonymous" if job.state == "CANCELLED" else "",
        last_transition_ts=job.changed,
        latest_run_id=job.run.run_id if job.run else "",
        job_runs=[job.run] if job.run else [],
        job_spec=_spec(job) if request.expand_job_spec else None,
    )


def _spec(job: Job) -> submit_pb2.Job:
    item = job.item
    return submit_pb2.Job(
        id=job.id,
        client_id=item.client_id,
        queue=job.queue,
        job_set_id=job.job_set,
        namespace=item.namespace,
        priority=item.priority,
        labels=item.labels,
        annotations=item.annotations,
        pod_spec=job.pod,
    )


# -- what the client library has no stubs for, or may not decode --------------------------------


def _others(armada: Armada) -> tuple[grpc.GenericRpcHandler, ...]:
    def report(request: StringValue, context: grpc.ServicerContext) -> StringValue:
        job = armada.cluster.jobs.get(request.value)
        reason = "resource limit exceeded" if job and job.state == "QUEUED" else "none"
        return StringValue(value=f"default:\n  UnschedulableReason: {reason}\n")

    def logs(request: binoculars_pb2.LogRequest, context: grpc.ServicerContext) -> bytes:
        return _logs(armada, request, context)

    return (
        grpc.method_handlers_generic_handler(
            "schedulerobjects.SchedulerReporting",
            {
                "GetJobReport": grpc.unary_unary_rpc_method_handler(
                    report, StringValue.FromString, StringValue.SerializeToString
                )
            },
        ),
        grpc.method_handlers_generic_handler(
            "binoculars.Binoculars",
            {
                "Logs": grpc.unary_unary_rpc_method_handler(
                    logs, binoculars_pb2.LogRequest.FromString, bytes
                )
            },
        ),
    )


def _logs(armada: Armada, request: binoculars_pb2.LogRequest, context) -> bytes:
    """Lines from the second of `since_time` on, cut after LOG_BYTES, as Kubernetes does it."""
    armada.calls.append(("Logs", request))
    if not request.HasField("log_options"):
        context.abort(grpc.StatusCode.INTERNAL, "panic: nil pointer")
    job = armada.cluster.jobs.get(request.job_id)
    if job is None or job.id in armada.gone:
        context.abort(grpc.StatusCode.NOT_FOUND, "The pod with these logs doesn't exist")
    if job.process is None and not job.over:
        words = 'container "main" in pod is waiting to start: ContainerCreating'
        context.abort(grpc.StatusCode.UNKNOWN, words)
    since = request.since_time[:19]
    chosen = [(at, text) for at, text in list(job.lines) if at[:19] >= since]
    raw = b"".join(at.encode() + b" " + text + b"\n" for at, text in chosen)[:LOG_BYTES]
    parts = [line.partition(b" ") for line in raw.split(b"\n") if line]
    return b"".join(_field(1, _field(1, at) + _field(2, text)) for at, gap, text in parts if gap)


def _field(number: int, data: bytes) -> bytes:
    """One field of a message, of bytes: as text it need not be UTF-8."""
    size, length = len(data), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + data
