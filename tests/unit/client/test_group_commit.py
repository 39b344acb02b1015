"""Group commit: calls that arrive together are carried out in one batch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from tests.waiting import wait_until
from yadtq_core.client.group_commit import BUDGET, Combiner, Finish


class Work:
    """Doubles numbers, in batches that it notes; where `held`, batches begin only when told to."""

    def __init__(self, most: int = 100, size: Callable[[int], int] = abs) -> None:
        self.batches: list[list[int]] = []
        self.threads: list[str] = []
        self.entered = threading.Semaphore(0)
        self.may_begin = threading.Semaphore(0)
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.held = False
        self.failing: BaseException | None = None
        self.combiner: Combiner[int, int] = Combiner(self.begin, most=most, size=size, name="leader")

    def begin(self, items: Sequence[int]) -> Finish[int]:
        self.entered.release()
        if self.held:
            assert self.may_begin.acquire(timeout=60)
        self.threads.append(threading.current_thread().name)
        self.batches.append(list(items))
        if self.failing is not None:
            failing, self.failing = self.failing, None
            raise failing

        def finish() -> list[int | Exception]:
            assert self.may_finish.wait(60)
            return [ValueError(f"{item}") if item < 0 else 2 * item for item in items]

        return finish

    def waiting(self) -> int:
        return len(self.combiner._queue)


def led() -> bool:
    """Whether there is a thread that leads for coroutines."""
    return any(thread.name == "leader" for thread in threading.enumerate())


def start(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_a_caller_alone_is_carried_out_in_its_own_thread() -> None:
    work = Work()
    assert work.combiner.call(21) == 42
    assert work.threads == [threading.current_thread().name]
    assert not led()


def test_calls_during_a_batch_form_the_next_one() -> None:
    work, answers = Work(), {}
    work.held = True

    def caller(number: int) -> Callable[[], None]:
        return lambda: answers.update({number: work.combiner.call(number)})

    threads = [start(caller(0))]
    assert work.entered.acquire(timeout=60)
    threads += [start(caller(number)) for number in range(1, 6)]
    wait_until(lambda: work.waiting() == 5, "five wait")
    work.may_begin.release(2)
    for thread in threads:
        thread.join(60)
    assert answers == {number: 2 * number for number in range(6)}
    assert [len(batch) for batch in work.batches] == [1, 5]


def test_batches_are_limited_and_the_lead_is_handed_on() -> None:
    work, answers = Work(most=2), []
    work.held = True
    threads = [start(lambda: answers.append(work.combiner.call(1)))]
    assert work.entered.acquire(timeout=60)
    threads += [start(lambda: answers.append(work.combiner.call(1))) for _ in range(5)]
    wait_until(lambda: work.waiting() == 5, "five wait")
    work.may_begin.release(9)
    for thread in threads:
        thread.join(60)
    assert [len(batch) for batch in work.batches] == [1, 2, 2, 1]
    assert len(set(work.threads)) == 4, "each batch has another leader"
    assert len(answers) == 6


def test_large_items_are_executed_in_several_batches() -> None:
    """Each batch is one script call: with 200 of the largest arguments it would be 50 MB."""
    work, answers = Work(size=lambda _: BUDGET // 4), []
    work.held = True
    threads = [start(lambda: answers.append(work.combiner.call(1)))]
    assert work.entered.acquire(timeout=60)
    threads += [start(lambda: answers.append(work.combiner.call(1))) for _ in range(10)]
    wait_until(lambda: work.waiting() == 10, "ten wait")
    work.may_begin.release(9)
    for thread in threads:
        thread.join(60)
    assert [len(batch) for batch in work.batches] == [1, 4, 4, 2]
    assert answers == [2] * 11


def test_an_item_above_the_budget_goes_alone() -> None:
    work = Work(size=lambda item: item)
    assert work.combiner.call(2 * BUDGET) == 4 * BUDGET
    assert work.combiner.call(1) == 2


def test_the_next_batch_begins_while_the_last_one_is_not_finished() -> None:
    work, answers = Work(), []
    work.may_finish.clear()
    threads = [start(lambda: answers.append(work.combiner.call(1))) for _ in range(2)]
    wait_until(lambda: len(work.batches) == 2, "two batches have begun")
    assert answers == []
    work.may_finish.set()
    for thread in threads:
        thread.join(60)
    assert answers == [2, 2]


def test_an_exception_for_one_is_raised_to_that_one() -> None:
    work = Work()
    with pytest.raises(ValueError, match="-3"):
        work.combiner.call(-3)
    assert work.combiner.call(3) == 6


def test_an_exception_for_all_is_raised_to_all_and_the_lead_goes_on() -> None:
    work = Work()
    work.failing = RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken"):
        work.combiner.call(1)
    assert work.combiner.call(1) == 2


def test_the_batch_of_an_interrupted_leader_is_repeated() -> None:
    work, answers = Work(), []
    work.held = True
    threads = [start(lambda: answers.append(work.combiner.call(1)))]
    assert work.entered.acquire(timeout=60)

    def interrupted() -> None:
        with pytest.raises(KeyboardInterrupt):
            work.combiner.call(2)
        answers.append(-1)

    threads.append(start(interrupted))
    wait_until(lambda: work.waiting() == 1, "the one to be interrupted waits, and is next to lead")
    threads.append(start(lambda: answers.append(work.combiner.call(3))))
    wait_until(lambda: work.waiting() == 2, "another waits")
    work.may_begin.release()
    assert work.entered.acquire(timeout=60)
    work.failing = KeyboardInterrupt()
    work.may_begin.release(2)
    for thread in threads:
        thread.join(60)
    assert work.batches == [[1], [2, 3], [3]]
    assert sorted(answers) == [-1, 2, 6]


def test_coroutines_share_a_batch() -> None:
    work = Work()
    work.held = True

    async def main() -> list[int]:
        calls = [asyncio.create_task(work.combiner.acall(number)) for number in range(32)]
        await asyncio.sleep(0)  # all have taken their places
        work.may_begin.release(9)
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == [2 * number for number in range(32)]
    assert len(work.batches) <= 2, "those who came first, all others"
    assert set(work.threads) == {"leader"}
    work.combiner.close()
    wait_until(lambda: not led(), "the leader ends")


def test_a_coroutine_that_is_cancelled_does_not_hold_up_others() -> None:
    work = Work()
    work.held = True

    async def main() -> int:
        first = asyncio.create_task(work.combiner.acall(1))
        await asyncio.to_thread(work.entered.acquire)
        second = asyncio.create_task(work.combiner.acall(2))
        third = asyncio.create_task(work.combiner.acall(3))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()
        work.may_begin.release(2)
        return await third

    assert asyncio.run(main()) == 6
    work.combiner.close()
    wait_until(lambda: not led(), "the leader ends")


def test_threads_and_coroutines_share_the_queue() -> None:
    work, answers = Work(most=3), list[int]()

    async def main() -> list[int]:
        return await asyncio.gather(*(work.combiner.acall(number) for number in range(200)))

    threads = [start(lambda: answers.extend(work.combiner.call(number) for number in range(200))) for _ in range(4)]
    assert asyncio.run(main()) == [2 * number for number in range(200)]
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == sorted([2 * number for number in range(200)] * 4)
    work.combiner.close()
    wait_until(lambda: not led(), "the leader ends")
