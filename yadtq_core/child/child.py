"""The process in which tasks run: its slots take jobs and run them.

    python -m yadtq_core.child CONTROL WORK TOKENS REPORTS PARENT

The arguments are inherited file descriptors and the process ID of the worker. A slot is a thread, the first one the
main thread. A slot reads a token, finds the job of this number in the frames of the work pipe, runs it and writes the
report. The child ends when the worker closes the socket of tokens, and at once when the worker's process has ended.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
import traceback
from contextlib import redirect_stdout
from pathlib import Path

from yadtq_core.child.pipe import (
    TOKEN,
    Cancel,
    Done,
    Frames,
    Job,
    Progress,
    Ready,
    Start,
    decode_control,
    decode_work,
    frame,
    write_all,
)
from yadtq_core.child.runner import Runner, describe
from yadtq_core.child.stop_signals import StopSignals
from yadtq_core.errors import PluginError, YadtqError
from yadtq_core.model import ChildIdentity
from yadtq_core.plugin.loading import Plugins, load_plugins
from yadtq_core.plugin.registry import Registry

_PR_SET_PDEATHSIG = 1
_ORPHANED = 3
_BROKEN = 4
_REPORT_SECONDS = 0.1
"""How long the report of an interrupted run waits, so that the worker has received its own signal before."""


class Child:
    """The jobs of one child, and the pipes to its worker."""

    def __init__(self, control: int, work: int, tokens: int, reports: int) -> None:
        self._control = Frames(control)
        self._work = Frames(work)
        self._tokens = tokens
        self._reports = reports
        self._jobs: dict[int, Job] = {}
        self._taking = threading.Lock()
        self._writing = threading.Lock()
        self._early: list[bytes] = []
        self._pid = os.getpid()
        self._stop_signals = StopSignals()

    def main(self) -> None:
        """Read the configuration, load plugins and tasks, then run jobs until the worker closes the tokens."""
        start = self._started()
        identity = ChildIdentity(start.worker_id, os.getpid())
        try:
            ready, plugins = self._prepare(start, identity)
        except YadtqError as error:
            self._send(Ready([], str(error)))
            return
        except BaseException as error:
            found = describe(error)
            self._send(Ready([], f"{found.type}: {found.message}"))
            return
        threading.Thread(target=self._read_control, name="yadtq-control", daemon=True).start()
        self._send(ready)
        os.register_at_fork(after_in_child=self._forked)
        slots = [threading.Thread(target=self._work_on, name=f"yadtq-slot-{n}") for n in range(1, start.threads)]
        for slot in slots:
            slot.start()
        self._work_on()
        for slot in slots:
            slot.join()
        plugins.manager.notify("yadtq_child_stopping", child=identity)

    def _prepare(self, start: Start, identity: ChildIdentity) -> tuple[Ready, Plugins]:
        """Load plugins and tasks, and bind the tasks. Raises the first error of a load unless the child is lenient.

        Raises PluginError if no task can be bound, also in a lenient child, which could then run nothing.
        """
        with redirect_stdout(sys.stderr):  # output of an import must not mix with the output of a command
            registry, plugins = Registry(start.imports), load_plugins()
            tasks, missing = registry.load_all()
        broken: list[YadtqError] = [*plugins.errors, *missing]
        if broken and not start.lenient:
            raise broken[0]
        settings = plugins.configure(start.settings)
        payloads = plugins.payloads(settings)
        payloads.check()
        self._runner = Runner(registry.get, plugins, payloads, start.worker_id, self._progress)
        self._runner.stopped_since = self._stop_signals.came_since
        plugins.manager.notify("yadtq_child_started", child=identity)
        with redirect_stdout(sys.stderr):
            unbound = self._runner.bind(tasks)
        if unbound and len(unbound) == len(tasks):
            plugins.manager.notify("yadtq_child_stopping", child=identity)
            raise PluginError(f"no task can be bound to the plugins; {tasks[0]}: {unbound[tasks[0]]}")
        bound = [name for name in tasks if name not in unbound]
        return Ready(bound, "", [*map(str, broken), *registry.name_warnings()], unbound), plugins

    def _started(self) -> Start:
        while not self._early:
            frames = self._control.read()
            if frames is None:
                os._exit(_ORPHANED)
            self._early += frames
        start = decode_control(self._early.pop(0))
        if not isinstance(start, Start):
            raise YadtqError(f"the worker's first frame was {start!r}, not Start")
        return start

    def _forked(self) -> None:
        """Replace the pipes by /dev/null in a process that a task has forked.

        Such a process must not take jobs, and while it held the pipes open the worker could not see the child's death.
        """
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (self._control.fd, self._work.fd, self._tokens, self._reports):
            os.dup2(null, fd, inheritable=False)  # not closed, or a file of the task could get its number
        os.close(null)

    def _work_on(self) -> None:
        """Run a slot. If it fails, end the child: the job of a dead slot would count as running for ever."""
        try:
            self._slot()
        except BaseException:
            try:
                traceback.print_exc()
            finally:
                os._exit(_BROKEN)

    def _slot(self) -> None:
        runner, reports = self._runner, self._reports
        while token := os.read(self._tokens, TOKEN.size):
            done = runner.run(self._take(TOKEN.unpack(token)[0]))
            if os.getpid() != self._pid:
                os._exit(0)  # this process was forked by the task; only its parent reports
            if isinstance(done, Done) and done.interrupted:
                time.sleep(_REPORT_SECONDS)
            data = frame(done)
            with self._writing:
                write_all(reports, data)

    def _take(self, seq: int) -> Job:
        """Return the job whose token was read; its frame came before the token, or is still to come."""
        with self._taking:
            while seq not in self._jobs:
                frames = self._work.read()
                if frames is None:
                    os._exit(_ORPHANED)
                for data in frames:
                    work = decode_work(data)
                    for job in work.jobs:
                        self._jobs[job.seq] = job
                    for number in work.forget:
                        self._jobs.pop(number, None)
            return self._jobs.pop(seq)

    def _progress(self, seq: int, text: str) -> None:
        self._send(Progress(seq, text))

    def _send(self, report: Progress | Ready) -> None:
        with self._writing:
            write_all(self._reports, frame(report))

    def _read_control(self) -> None:
        """Read the control pipe. Its end means that the worker has ended: end at once, with all running tasks."""
        while True:
            for data in self._early:
                word = decode_control(data)
                if isinstance(word, Cancel):
                    self._runner.cancelled.add(word.seq)
            frames = self._control.read()
            if frames is None:
                os._exit(_ORPHANED)
            self._early = frames


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the worker ends. On other systems than Linux the control pipe ends then.

    The kernel watches the thread that has started this process, which is therefore the worker's main thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(_ORPHANED)


def _prefer_to_be_killed() -> None:
    """Let the kernel kill this process rather than the worker when memory runs out; write no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        pass


def main() -> None:
    """Run as a child of a worker."""
    control, work, tokens, reports, parent = map(int, sys.argv[1:6])
    die_with(parent)
    _prefer_to_be_killed()
    for fd in (control, work, tokens, reports):
        os.set_inheritable(fd, False)  # a process that a task starts must not keep the pipes open
    Child(control, work, tokens, reports).main()
