"""The log of outages: one line when a service fails, one when it answers again."""

from __future__ import annotations

import logging

import pytest

from yadtq_core.errors import BackendUnavailable, BrokerUnavailable, ConfigurationRefused
from yadtq_core.worker.shared import Outages


def test_an_outage_is_logged_once_until_the_service_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "yadtq.worker")
    outages = Outages()
    outages.answered("backend")
    for _ in range(3):
        outages.failed("backend", BackendUnavailable("no answer within 5 s"))
    outages.answered("backend")
    outages.answered("backend")
    outages.failed("backend", ConfigurationRefused("read-only"))
    assert caplog.messages == [
        "the backend is away: no answer within 5 s",
        "the backend answers again after 0.0 s",
        "the backend refused a call: read-only",
    ]


def test_broker_and_backend_fail_independently(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "yadtq.worker")
    outages = Outages()
    outages.failed("backend", BackendUnavailable("a"))
    outages.failed("broker", BrokerUnavailable("b"))
    outages.answered("broker")
    assert caplog.messages == [
        "the backend is away: a",
        "the broker is away: b",
        "the broker answers again after 0.0 s",
    ]
