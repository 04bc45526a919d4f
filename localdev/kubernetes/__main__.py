"""A Kubernetes of one node for Armada's executor, whose pods are processes of this machine.

It runs the one container of each pod, as whoever started this, without its image: for development
and tests only. What it does is what Kubernetes does, as far as Armada's executor and Binoculars
look: phases, exit codes, deadlines, OOMKilled, eviction for disk, deletion with grace, output.
"""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path

import click
import psutil

from localdev.kubernetes.pods import Node
from localdev.kubernetes.server import Server
from localdev.kubernetes.store import Name, Store

NODE = "this-machine"
MEMORY = 2**30
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "{address}"}}}}]
users: [{{name: anybody, user: {{}}}}]
contexts: [{{name: here, context: {{cluster: here, user: anybody}}}}]
current-context: here
"""


def add_node(store: Store, cpu: float) -> None:
    """The one node, with so many cores and this machine's memory."""
    memory = psutil.virtual_memory().total // MEMORY
    amounts = {
        "cpu": str(cpu),
        "memory": f"{memory}Gi",
        "ephemeral-storage": "100Gi",
        "pods": "1000",
    }
    labels = {"kubernetes.io/hostname": NODE}
    status = {"capacity": amounts, "allocatable": amounts}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"labels": labels}, "spec": {}}
    store.create(Name("nodes", "", NODE), {**node, "status": status})


@click.command(help=__doc__)
@click.option("--port", default=0, help="0: any free one.")
@click.option("--cpu", default=16.0, show_default=True, help="Cores that pods may ask for.")
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Where pods live.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), required=True, help="Written here.")
def main(port: int, cpu: float, root: Path, kubeconfig: Path) -> None:
    """Serve until SIGTERM, then end every pod."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    store = Store()
    add_node(store, cpu)
    node = Node(store, NODE, root)
    server = Server(port, store, node)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    kubeconfig.write_text(KUBECONFIG.format(address=server.address))
    over.wait()
    node.close()
    server.over = True
    server.shutdown()
    serving.join()
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
