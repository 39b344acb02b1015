"""Fixtures of the fault runs: one stage for all rows, which they leave whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.services import KAFKA_VARIABLE, not_to_be_had
from verification.faults.stage import Stage
from yadtq_core.errors import LocalStackError


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Services of our own, to be killed: never those of `YADTQ_TEST_KAFKA` and `YADTQ_TEST_REDIS`."""
    with ExitStack() as at_end:
        try:
            made = at_end.enter_context(Stage(tmp_path_factory.mktemp("stage")))
        except LocalStackError as error:
            raise not_to_be_had(f"{error} (these tests kill their Kafka: {KAFKA_VARIABLE} is no use to them)") from None
        yield made
