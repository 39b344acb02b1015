"""The executor with real child processes: each job runs once, or is taken back, or is reported as lost."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tests.waiting import wait_until
from yadtq_core.child.pipe import Done
from yadtq_core.errors import TaskLoadError
from yadtq_core.model import Delivery, Lease, Message, Partition, new_id
from yadtq_core.settings import Settings
from yadtq_core.wire import envelope
from yadtq_core.worker.executor import Death, Executor
from yadtq_core.worker.rules.budget import BUDGET

ROOT = Path(__file__).parents[3]
CHORES = ["tests.integration.chores"]
encode = msgspec.json.encode


def lease(chore: str, *args: Any) -> Lease:
    return named(f"chores.{chore}", *args)


def named(task: str, *args: Any) -> Lease:
    message = Message(v=1, id=new_id(), task=task, arguments=Raw(encode((args, {}))))
    return Lease(Delivery(message, envelope.encode(message), Partition("default", 0), 0), 1, 1, 0)


class Crew:
    """An executor, and what its children told."""

    def __init__(self, processes: int = 1, threads: int = 1, imports: list[str] = CHORES) -> None:
        self.executor = Executor(Settings(worker_id="w1", processes=processes, threads=threads), imports)
        self.done: dict[str, Done] = {}
        self.progress: list[tuple[str, str]] = []
        self.deaths: list[Death] = []
        self.unable: list[tuple[Lease, str]] = []
        self.executor.start()

    def give(self, *leases: Lease) -> None:
        assert self.executor.give(leases)

    def hear(self, timeout: float = 0.05) -> None:
        news = self.executor.read(timeout)
        for ended, done in news.ended:
            assert ended.id not in self.done
            self.done[ended.id] = done
        self.progress += news.progress
        self.deaths += news.deaths
        self.unable += news.unable

    def hear_until(self, condition: Callable[[], object], description: str, timeout: float = 40.0) -> None:
        until = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < until, f"not within {timeout:g} s: {description}"
            self.hear()

    def hear_all(self, *leases: Lease) -> None:
        self.hear_until(lambda: all(one.id in self.done for one in leases), f"the ends of {len(leases)} runs")

    def begun(self, task: Lease) -> None:
        """Wait until a task that says so has begun."""
        self.hear_until(lambda: task.id in dict(self.progress), f"the beginning of {task.delivery.message.task}")

    def result(self, task: Lease) -> Any:
        done = self.done[task.id]
        assert done.status == "success", done
        assert done.result is not None
        return msgspec.json.decode(done.result)

    def pids(self) -> list[int]:
        return [child.process.pid for child in self.executor._children.values()]

    def death(self) -> Death:
        """Wait for a death; return the oldest not looked at."""
        self.hear_until(lambda: self.deaths, "a child's death")
        return self.deaths.pop(0)


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Crew]]:
    """Make executors whose children find this repository's modules; they are closed at the end."""
    monkeypatch.chdir(ROOT)
    made: list[Crew] = []

    def make(*args: Any, **options: Any) -> Crew:
        made.append(Crew(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.executor.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def within(seconds: float, started: float) -> None:
    took = time.monotonic() - started
    assert took < seconds, f"took {took:.2f} s"


# What goes well


def test_jobs_are_spread_over_all_children_and_slots(crew: Callable[..., Crew], tmp_path: Path) -> None:
    workers = crew(2, 2)
    assert (workers.executor.slots, workers.executor.free) == (4, 4)
    assert {"chores.add", "chores.sleep", "chores.mark"} <= workers.executor.tasks
    leases = [lease("meet", str(tmp_path), 4) for _ in range(4)]  # none ends before all have begun
    workers.give(*leases)
    assert (workers.executor.free, workers.executor.running) == (0, 4)
    workers.hear_all(*leases)
    assert Counter(workers.result(one) for one in leases) == dict.fromkeys(workers.pids(), 2)
    assert (workers.executor.free, workers.executor.running, workers.executor.held()) == (4, 0, [])


def test_slots_and_coroutines_know_their_own_run(crew: Callable[..., Crew]) -> None:
    workers = crew(1, 3)
    leases = [lease("sleep_async", 0.2) for _ in range(3)]
    workers.give(*leases)
    workers.hear_all(*leases)
    assert [workers.result(one) for one in leases] == [one.id for one in leases]


def test_a_run_reports_progress_and_receives_its_cancel(crew: Callable[..., Crew]) -> None:
    workers = crew()
    task, other = lease("until_cancelled"), lease("add", 1)
    workers.give(task, other)
    workers.begun(task)
    assert workers.progress == [(task.id, "0 waiting")]
    workers.executor.cancel(new_id())
    workers.executor.cancel(task.id)
    workers.hear_all(task, other)
    assert workers.done[task.id].status == "cancelled"
    assert workers.result(other) == 1


def test_work_larger_than_the_pipe_does_not_make_the_giver_wait(crew: Callable[..., Crew]) -> None:
    workers = crew()
    (pid,) = workers.pids()
    os.kill(pid, signal.SIGSTOP)
    leases = [lease("length", "x" * 256 * 1024) for _ in range(200)]
    started = time.monotonic()
    workers.give(*leases[:100])
    for one in leases[100:]:
        workers.give(one)
    workers.hear(0.0)
    within(30.0, started)
    os.kill(pid, signal.SIGCONT)
    workers.hear_all(*leases)
    assert {workers.result(one) for one in leases} == {256 * 1024}


def test_jobs_taken_back_from_a_full_pipe_can_be_started_again(crew: Callable[..., Crew]) -> None:
    workers = crew()
    (pid,) = workers.pids()
    os.kill(pid, signal.SIGSTOP)
    leases = [lease("length", "x" * 256 * 1024) for _ in range(20)]
    workers.give(*leases)
    taken = workers.executor.take_back()
    os.kill(pid, signal.SIGCONT)
    workers.give(*taken)
    workers.hear_all(*leases)
    assert len(taken) >= 19  # the child may have waited for its first token when it was stopped


def test_room_is_what_the_held_bytes_leave_of_the_budget(crew: Callable[..., Crew]) -> None:
    """Jobs that wait in a full pipe are held twice: with their leases, and as frames."""
    workers = crew()
    (pid,) = workers.pids()
    assert workers.executor.room == BUDGET
    os.kill(pid, signal.SIGSTOP)
    leases = [lease("length", "x" * 256 * 1024) for _ in range(24)]
    workers.give(*leases[:16])
    assert BUDGET // 16 < workers.executor.room < BUDGET // 4
    workers.give(*leases[16:])
    assert workers.executor.room == 0
    os.kill(pid, signal.SIGCONT)
    workers.hear_all(*leases)
    workers.hear_until(lambda: workers.executor.room == BUDGET, "all jobs have ended")


# Taking back


def test_waiting_jobs_are_taken_back_and_never_begin(crew: Callable[..., Crew], tmp_path: Path) -> None:
    workers = crew()
    trace = tmp_path / "trace"
    trace.touch()
    first, rest = lease("until_cancelled"), [lease("mark", str(trace)) for _ in range(5)]
    workers.give(first, *rest)
    workers.begun(first)
    assert workers.executor.take_back(older_than=60.0) == []
    assert workers.executor.take_back() == rest
    assert workers.executor.held() == [first]
    after = lease("add", 1)
    workers.give(after)
    workers.executor.cancel(first.id)
    workers.hear_all(first, after)
    assert trace.read_text() == ""


def test_only_jobs_that_waited_long_are_taken_back(crew: Callable[..., Crew]) -> None:
    workers = crew()
    first, old = lease("until_cancelled"), [lease("add", 1) for _ in range(3)]
    workers.give(first, *old)
    workers.begun(first)
    time.sleep(1.5)
    young = [lease("add", 2) for _ in range(3)]
    workers.give(*young)
    assert workers.executor.take_back(older_than=1.4) == old
    workers.executor.cancel(first.id)
    workers.hear_all(first, *young)


@pytest.mark.parametrize(("processes", "threads"), [(2, 1), (1, 3)])
def test_every_job_runs_once_or_is_taken_back(
    crew: Callable[..., Crew], tmp_path: Path, processes: int, threads: int
) -> None:
    """Thousands of jobs so short that the children race with the thread that takes them back."""
    workers = crew(processes, threads)
    trace = tmp_path / "trace"
    trace.touch()
    draw = random.Random(7)
    jobs: list[Lease] = []
    taken: list[Lease] = []
    over = threading.Event()

    def take_back() -> None:
        while not over.is_set():
            found = workers.executor.take_back(older_than=draw.choice([0.0, 0.0, 0.001]))
            taken.extend(found)
            time.sleep(draw.choice([0, 0.0002, 0.002]))

    thief = threading.Thread(target=take_back)
    thief.start()
    while len(jobs) < 4_000 or not (len(workers.done) > 100 and len(taken) > 100):
        batch = [lease("mark", str(trace)) for _ in range(draw.randint(1, 60))]
        jobs += batch
        workers.give(*batch)
        workers.hear(0.0)
        assert len(jobs) < 200_000, "either nothing runs or nothing is taken back"
    over.set()
    thief.join()
    workers.hear_until(lambda: not workers.executor.held(), "nothing held any more")
    ran = Counter(trace.read_text().split())
    back = Counter(one.id for one in taken)
    assert max(ran.values(), default=0) == 1
    assert max(back.values(), default=0) == 1
    assert not ran.keys() & back.keys()
    assert ran.keys() | back.keys() == {one.id for one in jobs}
    assert ran.keys() == workers.done.keys()
    assert workers.deaths == []


def test_jobs_that_are_taken_back_and_given_again_for_ever_still_run_once(
    crew: Callable[..., Crew], tmp_path: Path
) -> None:
    workers = crew(2)
    trace = tmp_path / "trace"
    trace.touch()
    jobs = [lease("mark", str(trace)) for _ in range(2000)]
    for at in range(0, len(jobs), 50):
        workers.give(*jobs[at : at + 50])
        for _ in range(3):
            if taken := workers.executor.take_back():
                workers.give(*taken)
        workers.hear(0.0)
    workers.hear_all(*jobs)
    assert sorted(trace.read_text().split()) == sorted(one.id for one in jobs)


# Balance


def test_jobs_behind_a_long_run_move_to_an_idle_child(crew: Callable[..., Crew]) -> None:
    workers = crew(2)
    long, rest = lease("until_cancelled"), [lease("add", n) for n in range(40)]
    workers.give(long, *rest)
    workers.hear_all(*rest)
    assert long.id not in workers.done


def test_one_free_slot_gets_the_jobs_behind_long_runs(crew: Callable[..., Crew]) -> None:
    workers = crew(2, 2)
    long, short = [lease("until_cancelled") for _ in range(3)], lease("sleep", 0.3)
    workers.give(*long, short)
    for one in (*long, short):
        workers.begun(one)
    rest = [lease("add", n) for n in range(10)]
    workers.give(*rest)
    workers.hear_all(short, *rest)
    assert not any(one.id in workers.done for one in long)


def test_a_new_child_takes_over_the_waiting_jobs(crew: Callable[..., Crew]) -> None:
    workers = crew(2)
    long, victim = lease("until_cancelled"), lease("die_by", signal.SIGKILL)
    workers.give(long)
    workers.begun(long)
    workers.give(victim)
    assert workers.death().begun == [victim]
    rest = [lease("add", n) for n in range(5)]
    workers.give(*rest)
    workers.executor.respawn()
    workers.hear_all(*rest)
    assert long.id not in workers.done


# Deaths


def test_a_killed_child_had_begun_one_job_and_not_the_others(crew: Callable[..., Crew]) -> None:
    workers = crew()
    first, rest = lease("sleep", 30), [lease("add", n) for n in range(3)]
    workers.give(first, *rest)
    workers.begun(first)
    os.kill(workers.pids()[0], signal.SIGKILL)
    started = time.monotonic()
    death = workers.death()
    within(10.0, started)
    assert (death.begun, death.unbegun) == ([first], rest)
    assert death.cause == "child killed by signal 9 (SIGKILL; out of memory?)"
    assert workers.executor.died.is_set()
    assert (workers.executor.running, workers.executor.free, workers.executor.held()) == (0, 0, [])
    assert not workers.executor.give(rest)
    workers.executor.respawn()
    assert not workers.executor.died.is_set()
    assert workers.executor.give(rest)
    workers.hear_all(*rest)


def test_outcomes_reported_before_a_child_died_count(crew: Callable[..., Crew]) -> None:
    workers = crew()
    short, fatal = [lease("add", n) for n in range(50)], lease("leave", 7)
    workers.give(*short, fatal)
    death = workers.death()
    assert (death.begun, death.unbegun) == ([fatal], [])
    assert workers.done.keys() == {one.id for one in short}


@pytest.mark.parametrize(
    ("task", "args", "threads", "cause"),
    [
        ("leave", (0,), 1, "child exited with status 0"),
        ("leave", (0,), 2, "child exited with status 0"),
        ("die_by", (signal.SIGSEGV,), 2, "child killed by signal 11 (SIGSEGV)"),
        ("close_everything", (), 1, "child "),
        ("close_everything", (), 2, "child "),
        ("close_everything_elsewhere", (), 2, "child "),
    ],
)
def test_a_task_that_ends_its_child_or_its_pipes_is_a_death_and_no_success(
    crew: Callable[..., Crew], task: str, args: tuple[Any, ...], threads: int, cause: str
) -> None:
    workers = crew(1, threads)
    fatal, rest = lease(task, *args), [lease("sleep", 0.01) for _ in range(20)]
    workers.give(fatal, *rest)
    death = workers.death()
    assert fatal in death.begun
    assert fatal.id not in workers.done
    assert death.cause.startswith(cause)
    assert {one.id for one in (*death.begun, *death.unbegun)} | workers.done.keys() == {
        one.id for one in (fatal, *rest)
    }
    assert len(death.begun) <= threads
    workers.executor.respawn()
    assert workers.executor.give(death.unbegun)
    workers.hear_all(*death.unbegun)


def test_deaths_leave_no_open_files_and_no_processes(crew: Callable[..., Crew]) -> None:
    workers = crew()
    before = len(list(Path("/proc/self/fd").iterdir()))
    pids = set()
    for _ in range(3):
        pids |= set(workers.pids())
        workers.give(lease("leave", 1), *[lease("length", "x" * 256 * 1024) for _ in range(20)])
        workers.death()
        workers.executor.respawn()
        workers.hear_until(lambda: workers.executor.free, "a child that is ready")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not any(map(alive, pids))


def test_killing_all_hands_everything_back(crew: Callable[..., Crew]) -> None:
    workers = crew(2)
    leases = [lease("sleep", 30) for _ in range(6)]
    workers.give(*leases)
    workers.begun(leases[0])
    workers.executor.kill()
    workers.hear_until(lambda: len(workers.deaths) == 2, "two deaths")
    back = [one for death in workers.deaths for one in (*death.begun, *death.unbegun)]
    assert sorted(one.id for one in back) == sorted(one.id for one in leases)
    assert not workers.executor.died.is_set()
    workers.executor.respawn()
    assert not workers.executor.give(leases)


# A child that hears nothing


def test_a_task_that_holds_the_interpreter_delays_no_other_child(crew: Callable[..., Crew], tmp_path: Path) -> None:
    workers = crew(2)
    lock, go = tmp_path / "lock", tmp_path / "go"
    hog, rest = lease("hold_the_gil_while_locked", str(lock), str(go)), [lease("add", n) for n in range(20)]
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        workers.give(hog)
        workers.begun(hog)
        go.touch()
        time.sleep(0.3)
        workers.give(*rest)
        workers.executor.cancel(hog.id)
        workers.hear_all(*rest)
        waiting = [lease("add", n) for n in range(20)]
        workers.give(*waiting)
        taken = workers.executor.take_back()
        workers.hear_all(*(one for one in waiting if one not in taken))
        assert hog.id not in workers.done
    workers.hear_all(hog)


def test_a_cancel_for_a_stopped_child_does_not_block(crew: Callable[..., Crew]) -> None:
    workers = crew()
    task = lease("until_cancelled")
    workers.give(task)
    workers.begun(task)
    os.kill(workers.pids()[0], signal.SIGSTOP)
    for _ in range(20_000):  # every extension of a lease that is to be cancelled says so again
        workers.executor.cancel(task.id)
    os.kill(workers.pids()[0], signal.SIGCONT)
    workers.hear_all(task)
    assert workers.done[task.id].status == "cancelled"


def test_all_that_a_stopped_child_has_not_begun_can_be_taken_back(crew: Callable[..., Crew]) -> None:
    workers = crew()
    first = lease("until_cancelled")
    workers.give(first)
    workers.begun(first)
    os.kill(workers.pids()[0], signal.SIGSTOP)
    rest = [lease("add", n) for n in range(200)]
    for one in rest:
        workers.give(one)
    assert workers.executor.take_back() == rest
    os.kill(workers.pids()[0], signal.SIGCONT)
    workers.executor.cancel(first.id)
    workers.hear_all(first)


# Processes that tasks leave behind


def test_a_process_that_a_task_left_behind_hides_nothing(crew: Callable[..., Crew], tmp_path: Path) -> None:
    workers = crew()
    place = tmp_path / "pid"
    task = lease("daemonise", str(place))
    started = time.monotonic()
    workers.give(task)
    workers.hear_all(task)
    within(30.0, started)
    wait_until(lambda: place.exists() and place.read_text(), "the daemon's process ID")
    daemon = int(place.read_text())
    try:
        running = lease("sleep", 30)
        workers.give(running)
        workers.begun(running)
        os.kill(workers.pids()[0], signal.SIGKILL)
        assert workers.death().begun == [running]
        assert alive(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_forked_process_that_returns_from_the_task_takes_no_jobs(crew: Callable[..., Crew], tmp_path: Path) -> None:
    workers = crew()
    trace = tmp_path / "trace"
    trace.touch()
    leases = [lease("come_back_twice"), *[lease("mark", str(trace)) for _ in range(300)]]
    workers.give(*leases[:100])
    workers.give(*leases[100:])
    workers.hear_all(*leases)
    assert workers.result(leases[0]) > 0
    assert sorted(trace.read_text().split()) == sorted(one.id for one in leases[1:])
    assert workers.deaths == []


def test_children_die_with_their_worker() -> None:
    """The worker is killed by -9 while its children run, one of them holding the interpreter."""
    program = """
import sys, time
from tests.integration.worker.test_executor import Crew, lease
crew = Crew(2, 1)
tasks = lease("sleep", 60), lease("hold_the_gil", 60)
crew.give(*tasks)
for task in tasks:
    crew.begun(task)
time.sleep(0.3)
print(*crew.pids(), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pids = [int(word) for word in worker.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        worker.kill()
        worker.wait()
        wait_until(lambda: not any(map(alive, pids)), "the end of both children")


# Starts that fail


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("raise ValueError('not today')", "not today"),
        ("import sys; sys.exit(3)", "sys.exit"),
        ("import os; os._exit(5)", "a child ended while it loaded its tasks: child exited with status 5"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_tasks_that_cannot_be_loaded_keep_the_executor_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "broken_shop.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    executor = Executor(Settings(worker_id="w1", processes=1), ["broken_shop"])
    try:
        with pytest.raises(TaskLoadError) as caught:
            executor.start()
        assert said in str(caught.value)
    finally:
        executor.close()


def test_a_child_that_dies_before_it_is_ready_is_a_problem_that_ends_with_one_that_is(
    crew: Callable[..., Crew], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = tmp_path / "weak_shop.py"
    shop.write_text("")
    workers = crew(1, 1, ["weak_shop"])
    shop.write_text("import os; os._exit(5)")
    os.kill(workers.pids()[0], signal.SIGKILL)
    workers.death()
    assert workers.executor.problem == ""
    workers.executor.respawn()
    workers.death()
    assert workers.executor.problem == "a child ended while it loaded its tasks: child exited with status 5"
    shop.write_text("")
    workers.executor.respawn()
    workers.hear_until(lambda: workers.executor.free, "a child that is ready")
    assert workers.executor.problem == ""


# Signals to a whole group


def test_a_child_ignores_the_signals_of_a_stop_from_its_first_moment_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    executor = Executor(Settings(worker_id="w1", processes=3, threads=1), CHORES)
    executor.respawn()
    try:
        for child in executor._children.values():
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(child.process.pid, number)
        executor.start()
        assert executor.free == 3
    finally:
        executor.close()


def test_a_task_can_terminate_processes_that_it_has_started(crew: Callable[..., Crew]) -> None:
    workers = crew(1, 2)
    leases = [lease("terminated") for _ in range(2)]  # one of them not in the main thread
    workers.give(*leases)
    workers.hear_all(*leases)
    assert [workers.result(one) for one in leases] == [[-signal.SIGTERM, -signal.SIGTERM]] * 2


def test_children_that_load_other_tasks_run_only_what_all_of_them_have(
    crew: Callable[..., Crew], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A module was changed while the worker ran: a job of the old task reached the new child, and its record failed."""
    monkeypatch.chdir(tmp_path)
    shop = tmp_path / "changed_shop.py"
    both = "from yadtq_core import task\n@task\ndef stays(): ...\n@task\ndef goes(): ...\n"
    shop.write_text(both)
    workers = crew(2, 1, ["changed_shop"])
    assert {"changed_shop.stays", "changed_shop.goes"} <= workers.executor.tasks
    shop.write_text(both.replace("goes", "comes"))
    os.kill(workers.pids()[0], signal.SIGKILL)
    workers.death()
    workers.executor.respawn()
    workers.hear_until(lambda: workers.executor.free == 2, "a second child that is ready")
    assert not {"changed_shop.goes", "changed_shop.comes"} & workers.executor.tasks
    assert "changed_shop.stays" in workers.executor.tasks
    assert workers.executor.unbound.keys() == {"changed_shop.goes", "changed_shop.comes"}
    assert (
        caplog.text.count("task changed_shop.goes is left to other workers: another child of this worker has not") == 1
    )

    both_ways = [named("changed_shop.goes"), named("changed_shop.goes")]
    workers.give(*both_ways)
    workers.hear_until(lambda: len(workers.done) + len(workers.unable) == 2, "the answers of both children")
    assert [done.status for done in workers.done.values()] == ["success"]
    assert [reason for _, reason in workers.unable] == ["task 'changed_shop.goes' is not loaded in this child"]
    assert (workers.executor.running, workers.executor.free) == (0, 2)

    os.kill(workers.pids()[0], signal.SIGKILL)
    workers.death()
    assert "changed_shop.comes" in workers.executor.tasks
    assert workers.executor.unbound.keys() == {"changed_shop.goes"}


# Lost leases


def test_a_job_whose_lease_is_lost_does_not_begin_and_the_others_do(crew: Callable[..., Crew], tmp_path: Path) -> None:
    workers, marks = crew(), tmp_path / "marks"
    marks.touch()
    running, first, gone, last = lease("until_cancelled"), *[lease("mark", str(marks)) for _ in range(3)]
    workers.give(running)
    workers.begun(running)
    workers.give(first, gone, last)
    lost = {(one.id, one.fence) for one in (running, gone)}
    assert workers.executor.drop(lost) == [gone]  # the other one has begun: its outcome is refused
    assert workers.executor.drop(lost) == []
    assert {one.id for one in workers.executor.held()} == {running.id, first.id, last.id}
    workers.executor.cancel(running.id)
    workers.hear_all(running, first, last)
    assert marks.read_text().split() == [first.id, last.id]
    assert workers.executor.running == 0
