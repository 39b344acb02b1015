"""`yadtq provision`: create topics and keys before the first task."""

from contextlib import ExitStack
from typing import Annotated, Any

import typer

from yadtq_core.cli.opening import open_plugins
from yadtq_core.cli.options import CommonOptions, common, whole_number
from yadtq_core.cli.output import complain, say, say_json
from yadtq_core.plugin.loading import open_backend, open_broker
from yadtq_core.settings import Settings


@common
def provision(
    given: CommonOptions,
    *,
    queues: Annotated[
        list[str] | None, typer.Option("--queue", "-Q", help="A queue; repeatable. Default: those of the settings.")
    ] = None,
    partitions: Annotated[
        str | None, typer.Option(metavar="N", help="Partitions of each queue; more than now adds them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Create the topics of the namespace, or add partitions. Topics that are as wanted stay unchanged.

    For example:

        yadtq provision -Q slow --partitions 16
    """
    more: dict[str, Any] = {"queues": queues or None}
    if partitions is not None:
        more["partitions"] = whole_number("--partitions", partitions, 1, 4096)
    usual = given.load().settings.partitions
    settings = given.load(**more).settings
    parted = _make(settings, grow=partitions is not None)
    if settings.partitions < usual:
        complain(f"warning: the settings have partitions = {usual}; set {settings.partitions} in yadtq.toml too")
    if as_json:
        say_json({"namespace": settings.namespace, "queues": settings.queues, "partitions": settings.partitions})
        return
    for queue in settings.queues:
        with_them = f" with {settings.partitions} partitions or more" if parted else ""
        say(f"namespace {settings.namespace}: queue {queue} is ready{with_them}")


def _make(settings: Settings, *, grow: bool) -> bool:
    """Create missing topics and keys. True when the broker's queues have partitions."""
    plugins = open_plugins()
    settings = plugins.configure(settings)
    with ExitStack() as opened:
        backend = open_backend(settings, plugins)
        opened.callback(backend.close)
        backend.check()
        broker = open_broker(settings, plugins)
        opened.callback(broker.close, 5.0)
        if grow:
            broker.grow(settings.queues, settings.partitions)
        broker.ensure(settings.queues, create=True)
        return broker.partitioned
