"""Every case of the table answers as it must, and what is refused leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.answers.bed import Case
from tests.answers.table import CASES, Beds, Tried, beds, under_way

pytestmark = pytest.mark.timeout(900)  # the cases run together: the first test may wait for all of them


@pytest.fixture(scope="session")
def tried_in(tmp_path_factory: pytest.TempPathFactory, kafka_url: str) -> Iterator[Beds]:
    with beds(tmp_path_factory.mktemp("answers"), kafka_url) as made:
        yield made


@pytest.fixture(scope="session")
def futures(request: pytest.FixtureRequest, tried_in: Beds) -> Iterator[dict[Case, Future[Tried]]]:
    """All cases that were asked for, under way together."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = [spec.params["case"] for spec in specs if spec is not None and isinstance(spec.params.get("case"), Case)]
    with under_way(tried_in, wanted) as begun:
        yield begun


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row} {case.name}".encode("ascii", "replace").decode())
def test_the_answer(case: Case, futures: dict[Case, Future[Tried]]) -> None:
    tried = futures[case].result()
    assert not tried.faults, f"{case.done}: {tried.answer}"


def test_a_refused_submit_leaves_no_record(futures: dict[Case, Future[Tried]], tried_in: Beds) -> None:
    for future in futures.values():
        future.exception()
    assert tried_in.left() == []
