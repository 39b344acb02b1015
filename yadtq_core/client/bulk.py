"""Submit many calls in chunks: it writes the records of a chunk while earlier messages are on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from yadtq_core.client.builder import Builder
from yadtq_core.client.call import Call, Options
from yadtq_core.client.connection import Opened
from yadtq_core.client.handle import Handle
from yadtq_core.client.submitter import Failure, SubmitBatch, Submitter
from yadtq_core.errors import InvalidInput, OutcomeUnknown, Unavailable, YadtqError
from yadtq_core.model import Message, Submission

CHUNK = 500
"""Calls in one script call and one publish."""
CHUNK_BYTES = 1024 * 1024
"""A chunk is sent early when its arguments reach this size in total."""
WINDOW = 16
"""Chunks without acknowledgement: 8,000 messages, so that the producer never holds more than 10,000."""
FIRST_WINDOW = 2
"""The window at the start. It grows by a chunk while the broker is quick, and halves when a chunk needed half of its
time: each chunk waits for those before it, and a slow broker must acknowledge it within the submit timeout."""

Result = Handle[Any] | YadtqError


class Bulk:
    """One `submit_many`: `results` has a handle or an error for each call, in order.

    stops: read no more calls after the services failed. Otherwise each further call gets an error without an attempt.
    """

    def __init__(self, builder: Builder, opened: Opened, options: Options, *, stops: bool) -> None:
        self.results: list[Result] = []
        self._builder = builder
        self._opened = opened
        self._options = options
        self._stops = stops
        self._submitter: Submitter = opened.here().submitter
        self._chunk: list[Message] = []
        self._delays: list[float] = []
        self._places: list[int] = []
        self._bytes = 0
        self._window: deque[tuple[list[int], SubmitBatch]] = deque()
        self._most = FIRST_WINDOW
        self._failed: Unavailable | None = None

    def run(self, calls: Iterable[Call[Any]]) -> None:
        """Submit all calls, at most a window of chunks ahead of the broker. Raises the errors of that iterator."""
        try:
            for call in calls:
                if self._failed is None:
                    self._take(call)
                elif self._stops:
                    break
                else:
                    self.results.append(self._failed)
            self._send()
        except Exception:
            self._settle_down_to(0)
            raise
        self._settle_down_to(0)

    def _take(self, call: Call[Any]) -> None:
        try:
            if not isinstance(call, Call):
                raise InvalidInput(f"submit_many takes calls, got {call!r:.80}: write call(task, …)")
            options = call.options.over(self._options)
            message = self._builder.message(call.task, call.args, call.kwargs, options)
        except YadtqError as error:
            self.results.append(error)
            return
        self._places.append(len(self.results))
        self.results.append(Handle(message.id, self._opened))
        self._chunk.append(message)
        self._delays.append(options.delay or 0.0)
        self._bytes += len(memoryview(message.arguments))
        if len(self._chunk) >= CHUNK or self._bytes >= CHUNK_BYTES:
            self._send()

    def _send(self) -> None:
        """Start the chunk; first wait for the oldest chunks if too many are unacknowledged."""
        if not self._chunk:
            return
        self._settle_down_to(self._most - 1)
        chunk, delays, places = self._chunk, self._delays, self._places
        self._chunk, self._delays, self._places, self._bytes = [], [], [], 0
        if self._failed is not None:
            self._put(places, [self._failed] * len(places))
            return
        made = self._builder.submissions(chunk, delays)
        submissions = [one for one in made if isinstance(one, Submission)]
        if len(submissions) < len(made):
            self._put(places, [one if isinstance(one, YadtqError) else None for one in made])
            places = [place for place, one in zip(places, made, strict=True) if isinstance(one, Submission)]
        if not submissions:
            return
        batch = self._submitter.start(submissions)
        if batch.publication is None:
            self._put(places, self._submitter.finish(batch))
        else:
            self._window.append((places, batch))

    def _settle_down_to(self, most: int) -> None:
        while len(self._window) > most:
            places, batch = self._window.popleft()
            self._put(places, self._submitter.finish(batch))
            slow = batch.left < self._submitter.timeout / 2
            self._most = max(1, self._most // 2) if slow else min(self._most + 1, WINDOW)

    def _put(self, places: list[int], failures: list[Failure]) -> None:
        """Put errors in the places of the handles. After a chunk in which every call failed, stop trying."""
        if not any(failures):
            return
        for place, failure in zip(places, failures, strict=True):
            if failure is not None:
                self.results[place] = failure
        if self._failed is None and all(isinstance(failure, Unavailable | OutcomeUnknown) for failure in failures):
            self._failed = Unavailable(f"not submitted, because an earlier call failed: {failures[0]}")


def raise_first(results: list[Result]) -> None:
    """Raise one error for all: OutcomeUnknown with the IDs of every unknown outcome, else the first refusal."""
    errors = [(place, result) for place, result in enumerate(results) if isinstance(result, YadtqError)]
    if not errors:
        return
    unknown = [error for _, error in errors if isinstance(error, OutcomeUnknown)]
    place, first = errors[0]
    if unknown:
        ids = tuple(task_id for error in unknown for task_id in error.task_ids)
        raised: YadtqError = OutcomeUnknown(ids, "not all calls were acknowledged in time")
    else:
        raised = first
    raised.add_note(
        f"{len(errors)} of {len(results)} calls were not accepted, the first at index {place}: {first}; "
        'on_error="return" gives a handle or an error for each call'
    )
    raise raised
