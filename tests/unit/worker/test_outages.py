"""The log of outages: one line when a service fails, one when it answers again."""

from __future__ import annotations

import logging

import pytest

from yadtq_core.errors import BackendUnavailable, BrokerUnavailable, ConfigurationRefused
from yadtq_core.worker.outages import Outages


def test_an_outage_is_logged_once_until_the_service_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "yadtq.worker")
    outages = Outages()
    outages.backend_answered()
    for _ in range(3):
        outages.backend_failed(BackendUnavailable("no answer within 5 s"))
    outages.backend_answered()
    outages.backend_answered()
    outages.backend_failed(ConfigurationRefused("read-only"))
    assert caplog.messages == [
        "the backend is away: no answer within 5 s",
        "the backend answers again after 0.0 s",
        "the backend refused a call: read-only",
    ]


def test_broker_and_backend_fail_independently(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "yadtq.worker")
    outages = Outages()
    outages.backend_failed(BackendUnavailable("a"))
    outages.broker_failed(BrokerUnavailable("b"))
    outages.broker_answered()
    assert caplog.messages == [
        "the backend is away: a",
        "the broker is away: b",
        "the broker answers again after 0.0 s",
    ]
