"""`yadtq submit`: one task, or many from a file."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from yadtq_core import Client, Handle
from yadtq_core.cli.arguments import parse_arguments
from yadtq_core.cli.batch import BatchSubmitter
from yadtq_core.cli.known import KnownTasks
from yadtq_core.cli.opening import open_client
from yadtq_core.cli.options import CommonOptions, common, seconds, whole_number
from yadtq_core.cli.output import complain, say, say_json
from yadtq_core.cli.record import say_state
from yadtq_core.client.call import MAX_DELAY, Using
from yadtq_core.client.handle import MAX_TIMEOUT
from yadtq_core.client.results import record_as_json
from yadtq_core.errors import InvalidInput, OutcomeUnknown, WaitTimeout
from yadtq_core.model import Record, Status, derived_id, new_id
from yadtq_core.plugin.registry import Registry
from yadtq_core.tasks.task import MAX_RETRIES


@common
def submit(
    given: CommonOptions,
    *,
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="The task's name.")] = None,
    args: Annotated[
        str | None,
        typer.Argument(
            metavar="ARGS", help="A JSON array, or an object of named arguments; @FILE reads a file, @- stdin."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 1 if it failed.")] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="S", help="With --wait: the longest wait (30, 500ms, 10m).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as one JSON object.")] = False,
    batch: Annotated[
        str | None, typer.Option(metavar="FILE|-", help='One task per line of JSON: {"task": "add", "args": [1, 2]}.')
    ] = None,
    queue: Annotated[str | None, typer.Option(help="The queue; default: default.")] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="S", help="Wait this long before running (30, 500ms, 10m).")
    ] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Submits with the same key become one task.")] = None,
    retries: Annotated[str | None, typer.Option(metavar="N", help="The number of retries after a failed run.")] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Text that the task can read; repeatable.")
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Submit a task that neither this process nor a worker knows.")
    ] = False,
) -> None:
    """Submit a task, or many with --batch.

    For example:

        yadtq submit add '[1, 2, 3]' --wait
        yadtq submit shop.resize '{"path": "a.png", "width": 640}'
        yadtq submit --batch tasks.ndjson
    """
    options = _options(queue, delay, idempotency_key, retries, header)
    patience = None if timeout is None else seconds("--timeout", timeout, 0.001, MAX_TIMEOUT)
    _check_together(task, args, batch, wait=wait, timeout=timeout, key=idempotency_key)
    settings = given.load().settings
    registry = Registry(settings.imports)
    with open_client(settings, registry) as client:
        known = KnownTasks(registry, client.workers, unchecked=unchecked)
        if task is None:
            lines = BatchSubmitter(client.using(**options), known, interruptible, as_json=as_json)
            raise typer.Exit(lines.run(batch or "-"))
        handle = _submit_one(client, known, task, args, options)
        if not as_json:
            say(f"Task ID: {handle.id}")
        ended = _end_of(client, handle, patience, as_json=as_json) if wait else None
        if as_json:
            say_json(record_as_json(ended or handle.record(), client.payloads))
        elif ended:
            say_state(ended, client.payloads)
    if ended and ended.status is not Status.SUCCESS:
        raise typer.Exit(1)


def _submit_one(client: Client, known: KnownTasks, name: str, text: str | None, options: Using) -> Handle[Any]:
    args, kwargs = parse_arguments(name, text, known.here(name))
    known.check(name)
    key = options.get("idempotency_key")
    task_id = new_id() if key is None else derived_id(client.settings.namespace, name, key)
    chosen: Using = options if key is not None else {**options, "id": task_id}
    with interruptible((task_id,)):
        return client.using(**chosen).submit(name, *args, **kwargs)


def _end_of(client: Client, handle: Handle[Any], timeout: float | None, *, as_json: bool) -> Record:
    """Wait for the end. If the wait ends first, print the state of the task too."""
    try:
        return handle.wait(timeout)
    except WaitTimeout:
        if as_json:
            say_json(record_as_json(handle.record(), client.payloads))
        else:
            say_state(handle.record(), client.payloads)
        raise
    except KeyboardInterrupt:
        complain(f"task {handle.id} goes on: `yadtq query {handle.id}`")
        raise


@contextmanager
def interruptible(task_ids: tuple[str, ...]) -> Iterator[None]:
    """Turn ctrl-C and SIGTERM during a submit into OutcomeUnknown: the task may be stored already."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        raise OutcomeUnknown(task_ids, "interrupted") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _options(
    queue: str | None, delay: str | None, key: str | None, retries: str | None, headers: list[str] | None
) -> Using:
    chosen: Using = {}
    if queue is not None:
        chosen["queue"] = queue
    if delay is not None:
        chosen["delay"] = seconds("--delay", delay, 0, MAX_DELAY)
    if key is not None:
        chosen["idempotency_key"] = key
    if retries is not None:
        chosen["retries"] = whole_number("--retries", retries, 0, MAX_RETRIES)
    if headers:
        chosen["headers"] = dict(map(_header, headers))
    return chosen


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InvalidInput(f"--header takes name=value, got {text[:80]!r}")
    return name, value


def _check_together(
    task: str | None, args: str | None, batch: str | None, *, wait: bool, timeout: str | None, key: str | None
) -> None:
    if timeout is not None and not wait:
        raise InvalidInput("--timeout goes with --wait: it limits the wait for the end")
    if batch is None and task is None:
        raise InvalidInput("name a task: yadtq submit add '[1, 2, 3]'; or give many with --batch FILE")
    if batch is not None and (task is not None or args is not None):
        raise InvalidInput("--batch takes tasks and arguments from the file: leave TASK and ARGS out")
    if batch is not None and (wait or key is not None):
        option = "--wait" if wait else "--idempotency-key"
        raise InvalidInput(
            f"{option} is for one task; --batch submits many"
            + ("" if wait else ": give each line its own idempotency_key")
        )
