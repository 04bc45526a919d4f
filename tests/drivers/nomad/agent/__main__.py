"""The agent as a program: ``python -m tests.drivers.nomad.agent --port N``, until SIGTERM."""

from __future__ import annotations

import argparse
import signal

from tests.drivers.nomad.agent import Agent


def main() -> None:
    """Print the address, and serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with Agent(port=parser.parse_args().port) as agent:
        print(agent.address, flush=True)
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
