"""The pauses between two questions about one ID, counted under a clock of the test's own."""

from __future__ import annotations

from yadtq_core.client.again import FIRST, LONGEST, SPREAD, Again

DAY = 86400


def asked(again: Again, until: int) -> list[int]:
    """Return the seconds at which IDs were due, once for each ID."""
    return [second for second in range(until) for _ in again.due(float(second), 1000)]


def test_an_id_is_asked_about_ever_more_rarely_and_never_for_the_last_time() -> None:
    again = Again()
    again.add("a", 0.0)
    times = asked(again, DAY)
    pauses = [later - earlier for earlier, later in zip([0, *times], times, strict=False)]
    for pause, wanted in zip(pauses, [FIRST * 2**n for n in range(7)], strict=False):
        assert wanted * (1 - SPREAD) <= pause <= wanted * (1 + SPREAD) + 1
    assert all(pause <= LONGEST * (1 + SPREAD) + 1 for pause in pauses)
    assert DAY / LONGEST / (1 + SPREAD) < len(times) < DAY / LONGEST / (1 - SPREAD) + 10, "every 5 s it was 17,280"


def test_after_a_reconnect_each_is_asked_about_once_and_keeps_its_time() -> None:
    again = Again()
    for number in range(450):
        again.add(str(number), 0.0)
    again.at_once(map(str, range(450)))
    again.at_once(["7"])
    assert again.left(1.0) == 0.0
    assert [len(again.due(1.0, 200)) for _ in range(4)] == [200, 200, 50, 0]
    left = again.left(1.0)
    assert left is not None
    assert left > 0
    assert len(again.due(FIRST * 2, 1000)) == 450


def test_what_nobody_waits_for_is_not_asked_about() -> None:
    again = Again()
    again.add("a", 0.0)
    again.at_once(["a"])
    again.drop("a")
    again.drop("never seen")
    assert again.left(0.0) is None
    assert again.due(1e6, 10) == []


def test_clients_that_began_together_drift_apart() -> None:
    firsts = set()
    for _ in range(10):
        again = Again()
        again.add("a", 0.0)
        firsts.add(again.left(0.0))
    assert len(firsts) == 10
