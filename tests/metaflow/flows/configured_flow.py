"""A step that says little of itself on Armada: what is configured says the rest."""

import os

from metaflow import FlowSpec, armada, resources, step


class ConfiguredFlow(FlowSpec):
    @resources(cpu=2, memory=300)
    @armada(cpu="150m", labels={"team": "step"})
    @step
    def start(self):
        self.seen = {name: os.environ.get(name) for name in ("SITE", "token")}
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ConfiguredFlow()
