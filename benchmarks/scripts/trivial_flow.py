"""Steps that do nothing but say when they were loaded, and when they ran."""

import time

LOADED = time.time()

from metaflow import FlowSpec, step  # noqa: E402 -- its import is part of what is measured


def stamp() -> None:
    """Seconds since the epoch: this file's first line, and now."""
    print("stamps", LOADED, time.time())


class TrivialFlow(FlowSpec):
    """Four steps in a row."""

    @step
    def start(self) -> None:
        """The first."""
        stamp()
        self.next(self.second)

    @step
    def second(self) -> None:
        """The second."""
        stamp()
        self.next(self.third)

    @step
    def third(self) -> None:
        """The third."""
        stamp()
        self.next(self.end)

    @step
    def end(self) -> None:
        """The last."""
        stamp()


if __name__ == "__main__":
    TrivialFlow()
