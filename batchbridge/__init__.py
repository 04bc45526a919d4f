"""Run a command on Nomad, Armada, this machine, or any engine with a driver; never guess."""
