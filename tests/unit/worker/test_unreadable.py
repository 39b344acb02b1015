"""Unreadable messages: dead letters, and messages of a newer format."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from yadtq_core.errors import BrokerUnavailable
from yadtq_core.interfaces import Backend, Broker, Outgoing
from yadtq_core.model import Partition, Unreadable
from yadtq_core.worker import unreadable as unreadable_module
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.shared import GuardedIntake
from yadtq_core.worker.unreadable import NEWER_SECONDS, UNREADABLE_BYTES, UnreadableMessages

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
    """The unreadable messages of a worker, and the intake whose partition has delivered them."""

    def __init__(self, services: Services, *unreadable: Unreadable) -> None:
        self.services = services
        self.intake = Intake(replayable=services.replayable)
        self.intake.gained(P0, 0)
        self.sender = UnreadableMessages(cast(Broker, services), cast(Backend, services), GuardedIntake(self.intake))
        self.sender.add(self.intake.polled(unreadable, 0.0))

    @property
    def committed(self) -> int:
        return self.intake._partitions[P0].watermark.low

    def waiting(self) -> list[Unreadable]:
        return self.sender._waiting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time of the module: set `now`."""
    made = SimpleNamespace(now=1000.0)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(unreadable_module, "time", made)
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
    assert [record.getMessage() for record in caplog.records] == [
        "unreadable message at default/0 offset 0 (not JSON): dropped, because the broker refuses it: too large"
    ]


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


def test_a_newer_message_with_a_record_is_done_without_a_copy(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(Services(), NONSENSE, NEWER)
    scene.services.known = {"id1"}
    scene.sender.send()
    assert (scene.committed, scene.services.published, scene.services.dead) == (2, [], [b"nonsense"])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "unreadable message at default/0 offset 0 (not JSON): dead-lettered"),
        ("WARNING", "unreadable message at default/0 offset 1 (version 99): left to a newer worker"),
    ]


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


def test_they_are_full_when_the_bodies_exceed_the_limit_and_no_longer_when_they_were_sent() -> None:
    scene = Scene(Services(), Unreadable(b"x" * UNREADABLE_BYTES, P0, 0, "not JSON"))
    assert not scene.sender.full()
    scene.sender.add(scene.intake.polled([Unreadable(b"x", P0, 1, "not JSON")], 0.0))
    assert scene.sender.full()
    scene.sender.send()
    assert not scene.sender.full()


def test_a_message_that_was_not_sent_stays_before_those_added_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(Services(), NONSENSE)
    later = Unreadable(b"later", P0, 1, "not JSON")

    def adds() -> int:
        scene.sender.add([later])
        return 1

    monkeypatch.setattr(scene.services, "unacknowledged", adds)
    scene.sender.send()
    assert scene.waiting() == [NONSENSE, later]
