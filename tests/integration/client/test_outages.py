"""Outages of Kafka and Redis: the answer of a submit agrees with what happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.services import NOWHERE
from tests.waiting import wait_until
from yadtq_core import (
    BackendUnavailable,
    BrokerUnavailable,
    Client,
    OutcomeUnknown,
    Status,
    Unavailable,
    YadtqError,
    call,
)


def test_an_unreachable_backend_is_reported_at_once(kafka_url: str) -> None:
    begun = time.monotonic()
    with pytest.raises(BackendUnavailable, match="nothing listens there"):
        Client.connect(kafka_url, f"redis://{NOWHERE}")
    assert time.monotonic() - begun < 20


@pytest.mark.slow
def test_an_unreachable_broker_refuses_and_nothing_is_written(redis_url: str, namespace: str) -> None:
    with Client.connect(f"kafka://{NOWHERE}", redis_url, namespace=namespace) as client:
        begun = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            client.submit("t.double", 1)
        assert time.monotonic() - begun < 40
        assert sum(client.counts().total(status) for status in Status) == 0


@pytest.mark.slow
def test_submits_in_a_broker_outage_are_unknown_then_refused(
    make_kafka: Callable[..., Any], redis_url: str, namespace: str
) -> None:
    kafka = make_kafka()
    with Client.connect(kafka.url, redis_url, namespace=namespace, submit_timeout=1.0) as client:
        client.provision()
        client.submit("t.double", 0)
        kafka.kill()
        begun = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="has not acknowledged it within 1 s") as caught:
            client.submit("t.double", 1)
        assert 0.9 <= time.monotonic() - begun < 4.5  # without the setting 5 and more
        (unknown,) = caught.value.task_ids
        assert client.handle(unknown).status() is Status.QUEUED, "a sweep would publish it"
        begun = time.monotonic()
        results = client.submit_many((call("t.double", number) for number in range(20_000)), on_error="return")
        assert time.monotonic() - begun < 35.0  # 1 s for each of its 40 chunks would be 40
        kinds = {type(result) for result in results}
        assert kinds <= {OutcomeUnknown, Unavailable, BrokerUnavailable}
        assert sum(isinstance(result, OutcomeUnknown) for result in results) <= 10_000
        kafka.start()
        wait_until(lambda: submitted(client), "the broker is back", 40)
        wait_until(lambda: client.handle(unknown).record().position, "a late acknowledgement is confirmed", 40)


@pytest.mark.slow
def test_submits_in_a_backend_outage_are_unknown_or_refused(
    make_valkey: Callable[..., Any], kafka_url: str, namespace: str
) -> None:
    valkey = make_valkey()
    with Client.connect(kafka_url, valkey.url, namespace=namespace) as client:
        client.provision()
        handle = client.submit("t.double", 0)
        valkey.kill()
        with pytest.raises(OutcomeUnknown):
            client.submit("t.double", 1)
        with pytest.raises(BackendUnavailable):
            client.submit("t.double", 1)
        with pytest.raises(BackendUnavailable):
            handle.result(timeout=1)
        valkey.start()
        wait_until(lambda: submitted(client), "the backend is back", 40)


def submitted(client: Client) -> bool:
    """Whether a submit is accepted."""
    try:
        client.submit("t.double", 1)
    except YadtqError:
        return False
    return True
