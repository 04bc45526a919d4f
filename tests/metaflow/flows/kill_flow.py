"""Tasks that go on until somebody ends them, each a job, one for each part that is named.

Each attempt makes a file ``marks/PART.ATTEMPT.PID`` when it begins, which says whether the process
of the attempt before was gone by then.
"""

import os
import signal
import time
from pathlib import Path

import psutil
from metaflow import FlowSpec, Parameter, current, local_batch, step


def alive(pid):
    """Whether it works still; one that is dead may wait for this machine's init to note it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def mark(marks, part):
    """Say that this attempt has begun, and whether it is alone."""
    marks.mkdir(exist_ok=True)
    before = [int(path.name.rpartition(".")[2]) for path in marks.glob(f"{part}.*")]
    alone = not any(alive(pid) for pid in before)
    (marks / f"{part}.{current.retry_count}.{os.getpid()}").write_text(str(alone))


class KillFlow(FlowSpec):
    place = Parameter("place", required=True)
    parts = Parameter("parts", default="linger")

    @step
    def start(self):
        self.named = self.parts.split(",")
        self.next(self.work, foreach="named")

    @local_batch(cpu=0.1)
    @step
    def work(self):
        marks = Path(self.place, "marks")
        if self.input == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        mark(marks, self.input)
        print("the last words of", self.input)
        if self.input == "fail":
            while len(list(marks.iterdir())) < len(self.named):
                time.sleep(0.05)
            raise ValueError("it fails while the others go on")
        if self.input == "die":
            os.killpg(0, signal.SIGKILL)
        if not current.retry_count:
            time.sleep(300)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    KillFlow()
