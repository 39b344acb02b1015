"""The promises of every backend (`interfaces.Backend`), as tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec import structs

from yadtq_core.errors import BackendUnavailable
from yadtq_core.interfaces import Backend
from yadtq_core.model import Epoch, Hold, Level, Placed, Release, ReleaseReason
from yadtq_core.plugin.loading import open_backend
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import STATS, BackendBed, delivery, outcome, submission, worker
from yadtq_core.testing.contracts.claiming import ClaimingContract
from yadtq_core.testing.contracts.ending import EndingContract
from yadtq_core.testing.contracts.releasing import ReleasingContract
from yadtq_core.testing.contracts.submitting import SubmittingContract
from yadtq_core.testing.contracts.sweeping import SweepingContract
from yadtq_core.testing.contracts.taking import TakingContract
from yadtq_core.testing.contracts.watching import WatchingContract


class BackendContract(
    SubmittingContract,
    ClaimingContract,
    EndingContract,
    ReleasingContract,
    SweepingContract,
    TakingContract,
    WatchingContract,
):
    """The promises of the seam as tests: subclass it and give it the fixture `settings` of your backend.

        class TestMyBackend(BackendContract):
            @pytest.fixture
            def settings(self, namespace):
                return Settings(backend="mine://localhost", namespace=namespace)

    Each test needs a namespace without any record. Tests that wait for the end of a lease use durations of 2 ms, far
    below what `Settings` accepts from users. `unreachable`, if given, are settings of an address where no store
    answers.
    """

    @pytest.fixture
    def settings(self) -> Settings:
        """The settings of a new namespace; a subclass must override it."""
        raise NotImplementedError("give your contract class a fixture `settings`")

    @pytest.fixture
    def unreachable(self) -> Settings | None:
        """Settings of an address where no store answers; None skips the test."""
        return None

    def open(self, settings: Settings) -> Backend:
        """Open a backend by its scheme; a subclass may open it otherwise."""
        return open_backend(settings)

    @pytest.fixture
    def bed(self, settings: Settings) -> Iterator[BackendBed]:
        """The namespace of one test."""
        made = BackendBed(lambda **given: self.open(structs.replace(settings, **given)))
        yield made
        made.close()

    def test_check_passes_repeatedly_on_a_usable_store(self, bed: BackendBed) -> None:
        bed.backend.check()
        bed.open().check()

    def test_findings_of_a_backend_have_a_remedy_and_change_nothing(self, bed: BackendBed) -> None:
        bed.backend.check()
        one = bed.submit()[0]
        before = bed.record(one)
        for finding in bed.backend.findings():
            assert finding.check
            assert finding.found
            assert bool(finding.remedy) == (finding.level is not Level.OK)
        assert bed.record(one) == before

    def test_every_call_to_an_unreachable_store_is_unavailable(self, unreachable: Settings | None) -> None:
        if unreachable is None:
            pytest.skip("the fixture `unreachable` gives no address for this backend")
        backend, by, one = self.open(unreachable), worker(), delivery(submission(), 1)
        task_id = one.message.id
        calls: list[Callable[[], object]] = [
            lambda: backend.create([submission()]),
            lambda: backend.confirm([Placed(task_id, "default", "0:1")]),
            lambda: backend.claim([one], by, "n"),
            lambda: backend.offer([one]),
            lambda: backend.extend([Hold(task_id, "default", 1)], by),
            lambda: backend.finish([outcome(task_id, 1)], by),
            lambda: backend.release([Release(task_id, "default", 1, ReleaseReason.UNSTARTED)], by),
            lambda: backend.held(by),
            lambda: backend.sweep(1, ["default"]),
            lambda: backend.take({"default": 1}, ()),
            lambda: backend.recover("default", [(0, 0, 1)], [Epoch("a", 1)]),
            lambda: backend.highest("default", [0]),
            lambda: backend.messages([task_id]),
            lambda: backend.buried([task_id]),
            lambda: backend.get([task_id]),
            lambda: backend.resets([task_id]),
            lambda: backend.cancel([task_id], "enough"),
            lambda: backend.ended([task_id]),
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
