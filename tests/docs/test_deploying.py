"""docs/deploying.md: the times that it sets are longer than a worker needs to end."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT
from yadtq_core.settings import Settings
from yadtq_core.worker import events, supervisor, worker
from yadtq_core.worker.threads import group_member

PAGE = (ROOT / "docs" / "deploying.md").read_text()


def test_a_worker_ends_before_its_service_manager_kills_it() -> None:
    (promised,) = re.findall(r"After the grace a worker needs (\d+) s at most", PAGE)
    closing = (worker.CLOSE_SECONDS, events.CLOSE_SECONDS, supervisor.CLOSE_SECONDS, group_member.CLOSE_SECONDS)
    assert supervisor._REQUEUE_SECONDS + sum(closing) <= float(promised)
    needed = Settings().shutdown_grace + float(promised)
    given = re.findall(r"(?:TimeoutStopSec=|terminationGracePeriodSeconds: )(\d+)", PAGE)
    assert len(given) == 2
    assert all(float(seconds) >= needed for seconds in given)
