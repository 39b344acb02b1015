"""Claims and offers: first without messages, then with the messages of the records that are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from yadtq_core.backends.redis import script_io, scripts
from yadtq_core.backends.redis.calls import Calls, Part
from yadtq_core.model import Answer, Delivery
from yadtq_core.net.redis_scripts import Script, ScriptCall

MAX_BYTES = 8 * 1024 * 1024
"""Messages in one call: a slow network must carry them before the call times out, or each retry times out too."""


def claimed(
    calls: Calls,
    script: Script,
    deliveries: Sequence[Delivery],
    heads: Callable[[Part], list[str]],
    limits: list[Any],
) -> list[Answer]:
    """Return the answers of CLAIM or OFFER. heads, limits: the keys and the arguments before those of IDs."""

    def bare(part: Part) -> ScriptCall:
        digests = [delivery.message.digest for delivery in part.of(deliveries)] if script is scripts.CLAIM else ()
        return part.call(script, heads(part), [*limits, 0, *digests])

    def full(piece: Sequence[Delivery]) -> Callable[[Part], ScriptCall]:
        def call(part: Part) -> ScriptCall:
            arguments = [*limits, 1, *script_io.messages_out(part.of(piece))]
            return part.call(script, heads(part), arguments, messages=True)

        return call

    answers = _one_pass(calls, deliveries, bare)
    missing = [index for index, answer in enumerate(answers) if answer is script_io.NEEDS_MESSAGE]
    for indexes in _by_size(missing, [len(deliveries[index].body) for index in missing]):
        piece = [deliveries[index] for index in indexes]
        for index, answer in zip(indexes, _one_pass(calls, piece, full(piece)), strict=True):
            answers[index] = answer
    return answers


def _one_pass(calls: Calls, deliveries: Sequence[Delivery], call: Callable[[Part], ScriptCall]) -> list[Answer]:
    ids = [delivery.message.id for delivery in deliveries]
    queues = [delivery.message.queue for delivery in deliveries]
    return calls.answers_and_orphans(ids, queues, call, script_io.answers_in, at=2)


def _by_size(indexes: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield the indexes in groups of at most MAX_BYTES, or of one."""
    group: list[int] = []
    total = 0
    for index, size in zip(indexes, sizes, strict=True):
        if group and total + size > MAX_BYTES:
            yield group
            group, total = [], 0
        group.append(index)
        total += size
    if group:
        yield group
