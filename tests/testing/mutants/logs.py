"""What a job wrote."""

from __future__ import annotations

from dataclasses import replace

from tests.testing.mutants.registry import mutant
from tests.testing.reference import ReferenceDriver


@mutant("one page is taken for the whole log", "many_lines")
class OnePage(ReferenceDriver):
    def read(self, ref, stream, place):
        return super().read(ref, stream, place) if place < 3 << 16 else b""


@mutant(
    "nomad #26693: the log of a job that is over never ends when it is empty",
    "cancel_waiting",
    "no_output",
    "queue_timeout",
    "threads",
)
class EmptyNeverEnds(ReferenceDriver):
    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        page = super().read_logs(ref, attempt, stream, cursor, ended=ended, wait=wait)
        return replace(page, eof=page.eof and page.cursor != "0")


@mutant("logs as text: what is no UTF-8 is replaced", "bytes_that_are_no_text")
class LogsAreText(ReferenceDriver):
    def read(self, ref, stream, place):
        data = super().read(ref, stream, place)
        return data.decode("utf-8", "ignore").encode() if b"\xff" in data else data


@mutant("no file of the log means that there is none to come", "waiting_job")
class NoFileNoLog(ReferenceDriver):
    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        page = super().read_logs(ref, attempt, stream, cursor, ended=ended, wait=wait)
        return replace(page, eof=page.eof or not (self.jobs / ref.id / stream).exists())


@mutant(
    "a command that is silent at first is taken for one that has nothing to say",
    "client_follows_the_log",
    "slow_start",
)
class SilenceIsTheEnd(ReferenceDriver):
    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        page = super().read_logs(ref, attempt, stream, cursor, ended=ended, wait=0)
        script = self._job(self.jobs / ref.id)["command"][-1]
        return replace(page, eof=page.eof or (not page.data and script.startswith("sleep")))


@mutant("both streams in one, and two declared", "both_streams")
class OneStream(ReferenceDriver):
    def read(self, ref, stream, place):
        if stream == "stderr":
            return b""
        both = [super(OneStream, self).read(ref, name, 0) for name in ("stdout", "stderr")]
        return (
            b"".join(both)[place : place + (1 << 16)]
            if both[1]
            else super().read(ref, stream, place)
        )


@mutant("torchx on Kubernetes: a log that is followed again begins at its start", "log_is_resumed")
class CursorIsMine(ReferenceDriver):
    def __init__(self, settings):
        super().__init__(settings)
        self.given = {"0"}

    def read_logs(self, ref, attempt, stream, cursor, *, ended, wait):
        own = cursor if cursor in self.given else None
        page = super().read_logs(ref, attempt, stream, own, ended=ended, wait=wait)
        self.given.add(page.cursor)
        return page
