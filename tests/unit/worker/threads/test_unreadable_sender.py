"""Unreadable messages: dead letters, and messages of a newer format."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from yadtq_core.errors import BrokerUnavailable
from yadtq_core.interfaces import Backend, Broker, Outgoing
from yadtq_core.model import Partition, Unreadable
from yadtq_core.worker.guarded_intake import GuardedIntake
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.threads import unreadable_sender
from yadtq_core.worker.threads.unreadable_sender import NEWER_SECONDS, UnreadableSender
from yadtq_core.worker.unreadable import UnreadableQueue

P0 = Partition("default", 0)
NONSENSE = Unreadable(b"nonsense", P0, 0, "not JSON")
NEWER = Unreadable(b"newer", P0, 1, "version 99", "id1")


class Publication:
    """The answers of a broker to one batch."""

    def __init__(self, positions: Sequence[str | None], errors: dict[int, str]) -> None:
        self.positions, self.errors = positions, errors

    def wait(self, timeout: float) -> Sequence[str | None]:
        return self.positions


class Services:
    """A broker and a backend that record what they were asked; `known` are the IDs with a record."""

    def __init__(self, *, replayable: bool = True) -> None:
        self.replayable = replayable
        self.pending = 0
        self.acknowledges = True
        self.refusal = ""
        self.known: set[str] = set()
        self.published: list[bytes] = []
        self.dead: list[bytes] = []

    def unacknowledged(self) -> int:
        return self.pending

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        self.published += [message.body for message in messages]
        return self._answer(messages)

    def publish_dead(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        self.dead += [message.body for message in messages]
        return self._answer(messages)

    def _answer(self, messages: Sequence[Outgoing]) -> Publication:
        taken = self.acknowledges and not self.refusal
        errors = dict.fromkeys(range(len(messages)), self.refusal) if self.refusal else {}
        return Publication(["0:9" if taken else None for _ in messages], errors)

    def time_ms(self) -> int:
        return 1

    def get(self, ids: Sequence[str]) -> list[object | None]:
        return [object() if each in self.known else None for each in ids]


class Scene:
    """A sender, and the intake whose partition has delivered the messages that it is to send."""

    def __init__(self, services: Services, *unreadable: Unreadable) -> None:
        self.services = services
        self.intake = Intake(replayable=services.replayable)
        self.intake.gained(P0, 0)
        self.queue = UnreadableQueue()
        self.queue.add(self.intake.polled(unreadable, 0.0))
        self.sender = UnreadableSender(
            queue=self.queue,
            broker=cast(Broker, services),
            backend=cast(Backend, services),
            intake=GuardedIntake(self.intake),
        )

    @property
    def committed(self) -> int:
        return self.intake._partitions[P0].low

    def waiting(self) -> list[Unreadable]:
        taken = self.queue.take()
        self.queue.put_back(taken)
        return taken


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time of the sender: set `now`."""
    made = SimpleNamespace(now=1000.0)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(unreadable_sender, "time", made)
    return made


def test_an_offset_is_done_when_the_broker_has_acknowledged_the_dead_letter_and_not_before() -> None:
    scene = Scene(Services(), NONSENSE)
    scene.services.acknowledges = False
    scene.sender.send()
    assert (scene.committed, scene.waiting()) == (0, [NONSENSE])
    scene.services.acknowledges = True
    scene.sender.send()
    assert (scene.committed, scene.waiting()) == (1, [])
    assert scene.services.dead == [b"nonsense"] * 2


def test_a_dead_letter_that_the_broker_refuses_is_logged_and_its_offset_done(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(Services(), NONSENSE)
    scene.services.refusal = "too large"
    scene.sender.send()
    assert scene.committed == 1
    assert "no dead letter for the message at default/0 offset 0: too large" in caplog.text


def test_nothing_is_sent_while_the_broker_has_unacknowledged_messages() -> None:
    scene = Scene(Services(), NONSENSE)
    scene.services.pending = 1
    scene.sender.send()
    assert (scene.services.dead, scene.waiting()) == ([], [NONSENSE])


def test_an_outage_keeps_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> int:
        raise BrokerUnavailable("away")

    scene = Scene(Services(), NONSENSE)
    monkeypatch.setattr(scene.services, "unacknowledged", unreachable)
    with pytest.raises(BrokerUnavailable):
        scene.sender.send()
    assert scene.waiting() == [NONSENSE]


def test_a_newer_message_with_a_record_is_done_without_a_copy() -> None:
    scene = Scene(Services(), NONSENSE, NEWER)
    scene.services.known = {"id1"}
    scene.sender.send()
    assert (scene.committed, scene.services.published, scene.services.dead) == (2, [], [b"nonsense"])


def test_a_newer_message_without_a_record_is_published_again_after_a_wait(clock: SimpleNamespace) -> None:
    scene = Scene(Services(), NONSENSE, NEWER)
    scene.sender.send()
    assert (scene.committed, scene.services.published, scene.waiting()) == (1, [], [NEWER])
    clock.now += NEWER_SECONDS - 0.1
    scene.sender.send()
    assert scene.services.published == []
    clock.now += 0.1
    scene.sender.send()
    assert (scene.committed, scene.services.published, scene.waiting()) == (2, [b"newer"], [])


def test_a_broker_that_is_not_replayable_keeps_a_newer_message_without_a_record() -> None:
    scene = Scene(Services(replayable=False), NONSENSE, NEWER)
    scene.sender.send()
    assert scene.intake.spent() == [(P0, 0)]
    assert (scene.services.published, scene.services.dead, scene.waiting()) == ([], [b"nonsense"], [])
