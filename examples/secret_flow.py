"""A step that gets one secret by name, and nothing else of the launcher's environment.

TOKEN=... python examples/secret_flow.py run
"""

from __future__ import annotations

import os

from metaflow import FlowSpec, environment, local_batch, step


class SecretFlow(FlowSpec):
    """What a step sees of the launcher's environment."""

    @environment(vars={"GREETING": "hello"})
    @local_batch(secrets={"TOKEN": "env:TOKEN"})
    @step
    def start(self) -> None:
        """The value is in the environment, and nowhere else: no argument, no log, no package."""
        print(f"{os.environ['GREETING']}, the token has {len(os.environ['TOKEN'])} characters")
        self.next(self.end)

    @step
    def end(self) -> None:
        """Nothing is left to do."""


if __name__ == "__main__":
    SecretFlow()
