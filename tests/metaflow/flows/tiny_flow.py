"""Two steps; the first is decorated by name, the second by --with or not at all."""

from metaflow import FlowSpec, local_batch, step


class TinyFlow(FlowSpec):
    @local_batch
    @step
    def start(self):
        print("out of start")
        self.x = 1
        self.next(self.end)

    @step
    def end(self):
        print("x is", self.x)


if __name__ == "__main__":
    TinyFlow()
