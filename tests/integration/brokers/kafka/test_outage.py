"""The broker goes and comes back; clients and members go on by themselves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.integration.brokers.kafka.flow import Members
from tests.waiting import wait_until
from yadtq_core.brokers.kafka import KafkaBroker, Tuning
from yadtq_core.errors import BrokerUnavailable
from yadtq_core.testing.contracts.broker_bed import messages, now_ms, publish, step_until
from yadtq_local import LocalKafka

Make = Callable[..., KafkaBroker]
MakeKafka = Callable[..., LocalKafka]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_killed_broker_is_used_again_after_its_restart(
    make_kafka: MakeKafka, make_broker: Make, members: Members, caplog: pytest.LogCaptureFixture
) -> None:
    """K1, K2: nothing acknowledged is lost, and the producer outlives an outage longer than it keeps a message."""
    server = make_kafka()
    broker = make_broker(broker=server.url, tuning=Tuning(session=6.0, delivery=2.0, request=2.0))
    broker.ensure(["default"], create=True)
    member = members.join(broker)
    acknowledged = messages(300)
    publish(broker, acknowledged)
    step_until([member], lambda: len(member.read) >= 100, "some are read")
    member.commit_read()
    server.kill()
    meanwhile = broker.publish(messages(100), timestamp_ms=now_ms())
    assert meanwhile.wait(0.2) == [None] * 100
    assert broker.unacknowledged() == 100
    with pytest.raises(BrokerUnavailable):
        broker.grow(["default"], 8)
    with pytest.raises(BrokerUnavailable):
        member.offsets.ends(sorted(member.owned))
    until = time.monotonic() + 5.0
    step_until([member], lambda: time.monotonic() > until, "polling goes on, and raises nothing")
    wait_until(lambda: broker.unacknowledged() == 0, "the messages of the outage have expired")
    assert not meanwhile.errors
    server.start()
    after = messages(100)
    wait_until(lambda: None not in broker.publish(after, timestamp_ms=now_ms()).wait(1.0), "it publishes", 40.0)
    wanted = {one.id for one in acknowledged + after}
    step_until([member], lambda: set(member.ids) >= wanted, "everything acknowledged is read", timeout=60.0)
    assert caplog.text.count("does not answer; polling continues") == 1
    assert caplog.text.count("answers again after") == 1
    member.commit_read()
    step_until([member], lambda: member.offsets.committed(sorted(member.owned)), "it commits again")


def test_a_stopped_broker_goes_on(make_kafka: MakeKafka, make_broker: Make, members: Members) -> None:
    """K3: a broker that is stopped for 8 s delivers everything once."""
    server = make_kafka()
    broker = make_broker(broker=server.url)
    broker.ensure(["default"], create=True)
    member = members.join(broker)
    sent = messages(200)
    publish(broker, sent[:100])
    step_until([member], lambda: len(member.read) == 100, "the first half is read")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        waiting = broker.publish(sent[100:], timestamp_ms=now_ms())
        until = time.monotonic() + 8.0
        step_until([member], lambda: time.monotonic() > until, "polling goes on")
        assert waiting.wait(0.0) == [None] * 100
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert None not in waiting.wait(30.0)
    step_until([member], lambda: len(member.read) >= 200, "the second half is read", timeout=40.0)
    assert sorted(member.ids) == sorted(one.id for one in sent)
