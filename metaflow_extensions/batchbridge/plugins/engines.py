"""What each name takes, what stands behind it in Metaflow's configuration, and where it goes.

The one table of all that; see `tables` for what a line of it says. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from . import readers
from .tables import Attribute, Engine


def plain(name: str, profile: Attribute) -> Engine:
    """An engine of which nothing is known but what every one knows."""
    return Engine(name, (*COMMON, profile))


# -- what every name takes -------------------------------------------------------------------

COMMON = (
    Attribute(
        "cpu",
        "cpu",
        "float",
        "Cores. Where @resources names another number, the larger one counts.",
        readers.number,
    ),
    Attribute("memory", "memory", "int", "Megabytes.", readers.megabytes),
    Attribute("disk", "disk", "int", "Megabytes.", readers.megabytes),
    Attribute("gpu", "gpu", "int", "Devices.", readers.whole),
    Attribute("image", "image", "str", "Container image, where the engine runs containers."),
    Attribute(
        "executable",
        "own.executable",
        "str",
        "The Python that runs the step; default: ``python`` in a container, else this one.",
    ),
    Attribute(
        "queue_timeout",
        "queue_timeout",
        "float or str",
        'Seconds, or e.g. ``"10m"``, that the job may wait before it starts.',
        readers.anything,
    ),
    Attribute(
        "start_timeout",
        "start_timeout",
        "float or str",
        "Time that its start may take once it has a place: pulling the image, and the like.",
        readers.anything,
    ),
    Attribute(
        "secrets",
        "secrets",
        "dict",
        "NAME -> source (``env:NAME``, ``file:PATH``, ``command:CMD``) of what the step may know.",
        readers.table,
    ),
    Attribute(
        "options",
        "",
        "dict",
        "What the driver offers beyond this; see ``batchbridge submit --backend NAME --help``.",
        readers.options,
    ),
)


def _but(changes: Mapping[str, Attribute], *more: Attribute) -> tuple[Attribute, ...]:
    """What every name takes, with some of it understood in an engine's own way, and more."""
    return (*(changes.get(common.name, common) for common in COMMON), *more)


def _profile(engine: str) -> Attribute:
    help = f'A profile of the driver {engine}; default: "{engine}".'
    return Attribute("profile", "own.profile", "str", help)


def _executable() -> Attribute:
    (common,) = (one for one in COMMON if one.name == "executable")
    return replace(common, config="EXECUTABLE")


def _amount(name: str) -> Attribute:
    help = 'Megabytes, or as Kubernetes writes it: ``"2Gi"``.'
    return Attribute(name, name, "int or str", help, readers.quantity, name.upper())


def _table(name: str, goes: str, help: str) -> Attribute:
    return Attribute(name, goes, "dict", help, readers.table, name.upper())


def _list(name: str, help: str) -> Attribute:
    return Attribute(name, f"options.{name}", "list", help, readers.structure, name.upper())


# -- the names -------------------------------------------------------------------------------

LOCAL = plain("local_batch", _profile("local"))

BATCHBRIDGE = plain(
    "batchbridge",
    Attribute(
        "backend",
        "own.profile",
        "str",
        "A driver's or a profile's name; default: ``METAFLOW_BATCHBRIDGE_BACKEND``, else the"
        " profile that ``batchbridge`` uses by default.",
    ),
)

NOMAD = Engine(
    "nomad",
    _but(
        {
            "cpu": Attribute(
                "cpu",
                "",
                "float",
                "MHz from 100 on, else cores; it counts even where @resources asks for more.",
                readers.nomad_cpu,
                "CPU",
            ),
            "memory": Attribute(
                "memory", "memory", "int", "Megabytes.", readers.megabytes, "MEMORY"
            ),
            "disk": Attribute("disk", "disk", "int", "Megabytes.", readers.megabytes, "DISK"),
            "executable": _executable(),
        },
        Attribute(
            "", "own.image", "str", "The image of steps that name none.", config="DEFAULT_IMAGE"
        ),
        Attribute(
            "cores",
            "options.cores",
            "int",
            "Whole cores for the step alone, instead of cpu.",
            readers.whole,
        ),
        Attribute(
            "driver",
            "options.driver",
            "str",
            "Task driver: docker, podman, exec, raw_exec; default: docker.",
            config="DRIVER",
        ),
        Attribute("region", "settings.region", "str", "Region.", config="REGION"),
        Attribute("namespace", "settings.namespace", "str", "Namespace.", config="NAMESPACE"),
        Attribute(
            "datacenters",
            "options.datacenters",
            "list or str",
            'Datacenters, or patterns; ``"dc1,dc2"`` is a list too.',
            readers.structure,
            "DEFAULT_DATACENTERS",
        ),
        Attribute("node_pool", "options.node_pool", "str", "Node pool."),
        Attribute(
            "priority",
            "options.priority",
            "int",
            "1 to 100; higher is placed first.",
            readers.whole,
        ),
        Attribute(
            "constraints",
            "options.constraints",
            "list",
            "What a node must have: dictionaries of ``attribute``, ``operator``, ``value``.",
            readers.structure,
        ),
        Attribute(
            "volumes",
            "options.volumes",
            "list",
            "Volumes: dictionaries of ``source``, ``path``, and if need be ``type`` (host or csi)"
            " and ``read_only``.",
            readers.structure,
        ),
        Attribute(
            "template",
            "options.template",
            "str",
            "A file with a batch job of Nomad's, HCL or JSON, under which the step's job is laid.",
            readers.document,
            "JOB_TEMPLATE",
        ),
        _profile("nomad"),
        Attribute("", "settings.address", "str", "Address of an agent.", config="ADDRESS"),
        Attribute("", "settings.token", "str", "ACL token.", config="TOKEN"),
        Attribute(
            "", "settings.ca_cert", "str", "File with the CA's certificates.", config="CACERT"
        ),
        Attribute("", "settings.client_cert", "str", "Our certificate.", config="CLIENT_CERT"),
        Attribute(
            "", "settings.client_key", "str", "The key of our certificate.", config="CLIENT_KEY"
        ),
    ),
    decorator_wins=True,
    contained=True,
    inert=("settings.region", "settings.namespace"),
)

ARMADA = Engine(
    "armada",
    _but(
        {
            "cpu": Attribute(
                "cpu",
                "cpu",
                "float or str",
                'Cores, also as ``"240m"``; it counts even where @resources asks for more.',
                readers.cores,
                "CPU",
            ),
            "memory": _amount("memory"),
            "disk": _amount("disk"),
            "gpu": Attribute("gpu", "gpu", "int", "Devices.", readers.whole, "GPU"),
            "executable": _executable(),
            "secrets": Attribute(
                "secrets",
                "",
                "list or dict",
                "Kubernetes secrets whose keys the step finds as variables, or NAME ->"
                " ``SECRET/KEY``.",
                readers.armada_secrets,
                "SECRETS",
            ),
        },
        Attribute(
            "", "own.image", "str", "The image of steps that name none.", config="DEFAULT_IMAGE"
        ),
        Attribute("host", "address.host", "str", "Host of Armada's server.", config="HOST"),
        Attribute(
            "port", "address.port", "int", "Its port; default: 50051.", readers.whole, "PORT"
        ),
        Attribute(
            "logging_host", "logging.host", "str", "Host of Binoculars.", config="LOGGING_HOST"
        ),
        Attribute(
            "logging_port",
            "logging.port",
            "int",
            "Its port; default: 50053.",
            readers.whole,
            "LOGGING_PORT",
        ),
        Attribute(
            "insecure_no_ssl",
            "settings.tls",
            "bool",
            "Whether the connection is not encrypted; default: only to this machine.",
            readers.unencrypted,
            "INSECURE_NO_SSL",
        ),
        Attribute("queue", "settings.queue", "str", "Queue.", config="QUEUE"),
        Attribute(
            "job_set_id",
            "own.job_set",
            "str",
            "Job set; default: one of each run's own.",
            config="JOB_SET_ID",
        ),
        Attribute("namespace", "settings.namespace", "str", "Namespace.", config="NAMESPACE"),
        Attribute(
            "priority",
            "options.priority",
            "float",
            "Priority in the queue; lower goes first.",
            readers.number,
            "PRIORITY",
        ),
        Attribute(
            "priority_class",
            "options.priority_class",
            "str",
            "Priority class.",
            config="PRIORITY_CLASS",
        ),
        _table("labels", "labels", "Labels of the pod."),
        _table("annotations", "options.annotations", "Annotations of the pod."),
        _table("node_selector", "options.node_selector", "Labels that a node must have."),
        _list(
            "tolerations",
            "Taints that the pod stands: dictionaries of ``key``, ``operator``, ``value``,"
            " ``effect``.",
        ),
        _list(
            "volumes", "Dictionaries of ``path``, ``source`` as in a pod's volumes, ``read_only``."
        ),
        Attribute(
            "service_account",
            "options.service_account",
            "str",
            "Service account of the pod.",
            config="SERVICE_ACCOUNT",
        ),
        Attribute(
            "pod_template",
            "options.pod",
            "dict or str",
            "A pod spec, or a file with one, YAML or JSON, under which the step's is laid.",
            readers.structure,
            "POD_TEMPLATE",
        ),
        _profile("armada"),
        Attribute(
            "",
            "settings.allow_plain_credentials",
            "bool",
            "Whether values of secrets may stand in the pod's spec, where others may read them.",
            readers.truth,
            "ALLOW_PLAIN_CREDENTIALS",
        ),
        Attribute("", "settings.token", "str", "Bearer token.", config="TOKEN"),
        Attribute(
            "", "settings.ca_cert", "str", "File with the CA's certificates.", config="CACERT"
        ),
        Attribute("", "settings.client_cert", "str", "Our certificate.", config="CLIENT_CERT"),
        Attribute(
            "", "settings.client_key", "str", "The key of our certificate.", config="CLIENT_KEY"
        ),
    ),
    decorator_wins=True,
    contained=True,
    halves={
        "address": ("address.host", "address.port", "50051"),
        "binoculars": ("logging.host", "logging.port", "50053"),
    },
    inert=("settings.queue", "settings.namespace"),
)

ENGINES = {engine.name: engine for engine in (LOCAL, BATCHBRIDGE, NOMAD, ARMADA)}
"""By the decorator's name."""
