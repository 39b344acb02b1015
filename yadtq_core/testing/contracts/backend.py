"""What every backend promises (`interfaces.Backend`), as tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import structs

from yadtq_core.errors import BackendUnavailable
from yadtq_core.interfaces import Backend
from yadtq_core.model import Hold, Level, Release, ReleaseReason
from yadtq_core.plugin.loading import open_backend
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.claiming import ClaimingContract
from yadtq_core.testing.contracts.ending import EndingContract
from yadtq_core.testing.contracts.records import STATS, Records, delivery, outcome, submission, worker
from yadtq_core.testing.contracts.submitting import SubmittingContract
from yadtq_core.testing.contracts.sweeping import SweepingContract


class BackendContract(SubmittingContract, ClaimingContract, EndingContract, SweepingContract):
    """Subclass it, give it the fixture `settings`, and pytest runs every promise of the seam on your backend.

        class TestMyBackend(BackendContract):
            @pytest.fixture
            def settings(self, namespace):
                return Settings(backend="mine://localhost", namespace=namespace)

    Each test needs a namespace without any record. Tests that wait for the end of a lease use settings far below what
    `Settings` allows to users: durations of 2 ms must work. `unreachable`, if given, are settings of a place where no
    store answers.
    """

    @pytest.fixture
    def settings(self) -> Settings:
        """The settings of a new namespace; a subclass must say it."""
        raise NotImplementedError("give your contract class a fixture `settings`")

    @pytest.fixture
    def unreachable(self) -> Settings | None:
        """Settings whose store does not answer; None where there is no such thing."""
        return None

    def open(self, settings: Settings) -> Backend:
        """Open a backend: by its scheme, unless a subclass knows better."""
        return open_backend(settings)

    @pytest.fixture
    def bed(self, settings: Settings) -> Iterator[Records]:
        """The namespace."""

        def opened(*, lease: float | None = None, **given: Any) -> Backend:
            lasting = {} if lease is None else {"claim_stale_seconds": lease}
            return self.open(structs.replace(settings, **lasting, **given))

        records = Records(opened)
        yield records
        records.close()

    def test_a_store_that_will_do_passes_again_and_again(self, bed: Records) -> None:
        bed.backend.check()
        bed.open().check()

    def test_what_there_is_to_say_of_it_changes_nothing(self, bed: Records) -> None:
        bed.backend.check()
        one = bed.submit()[0]
        before = bed.record(one)
        for finding in bed.backend.findings():
            assert finding.check
            assert finding.found
            assert bool(finding.remedy) == (finding.level is not Level.OK)
        assert bed.record(one) == before

    def test_what_cannot_be_reached_is_unavailable_whatever_is_asked(self, unreachable: Settings | None) -> None:
        if unreachable is None:
            pytest.skip("no such place for this backend")
        backend, by, one = self.open(unreachable), worker(), delivery(submission(), 1)
        task_id = one.message.id
        calls: list[Callable[[], object]] = [
            lambda: backend.create([submission()]),
            lambda: backend.confirm([(task_id, "0:1")]),
            lambda: backend.claim([one], by, "n"),
            lambda: backend.offer([one]),
            lambda: backend.extend([Hold(task_id, 1)], by),
            lambda: backend.finish([outcome(task_id, 1)], by),
            lambda: backend.release([Release(task_id, 1, ReleaseReason.UNSTARTED)], by),
            lambda: backend.held(by),
            lambda: backend.sweep(1, 1),
            lambda: backend.messages([task_id]),
            lambda: backend.buried([task_id]),
            lambda: backend.get([task_id]),
            lambda: backend.resets([task_id]),
            lambda: backend.cancel([task_id], "enough"),
            lambda: backend.watch([task_id], "channel"),
            backend.subscribe,
            backend.counts,
            lambda: backend.heartbeat(by, STATS, ()),
            backend.workers,
            backend.time_ms,
            backend.check,
        ]
        for call in calls:
            with pytest.raises(BackendUnavailable):
                call()
        backend.close()
        backend.close()
