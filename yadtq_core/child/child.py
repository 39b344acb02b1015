"""What runs in a child: slots that take jobs and run them.

    python -m yadtq_core.child CONTROL WORK TOKENS REPORTS PARENT

The numbers are inherited file descriptors and the worker's process ID. A slot is a thread; the first is the main
thread. Each reads a token, finds its job among the frames of the work pipe, runs it and writes the report. The
child ends when the token pipe does (the worker drains it), and at once when the worker is gone.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import traceback
from contextlib import redirect_stdout
from pathlib import Path

from yadtq_core.child.pipe import (
    TOKEN,
    Cancel,
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
from yadtq_core.errors import YadtqError
from yadtq_core.model import ChildIdentity
from yadtq_core.plugin.loading import Plugins, load_plugins
from yadtq_core.plugin.registry import Registry

_PR_SET_PDEATHSIG = 1
_ORPHANED = 3
_BROKEN = 4


class Child:
    """The jobs of one child and the pipes they come and go by."""

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

    def main(self) -> None:
        """Be told what to be, load plugins and tasks, run jobs until there are no more."""
        start = self._started()
        try:
            ready, plugins = self._prepare(start)
        except YadtqError as error:
            self._send(Ready([], str(error)))
            return
        except BaseException as error:
            told = describe(error)
            self._send(Ready([], f"{told.type}: {told.message}"))
            return
        identity = ChildIdentity(start.worker_id, os.getpid())
        plugins.manager.tell("yadtq_child_started", child=identity)
        threading.Thread(target=self._obey, name="yadtq-control", daemon=True).start()
        self._send(ready)
        os.register_at_fork(after_in_child=self._forked)
        slots = [threading.Thread(target=self._work_on, name=f"yadtq-slot-{n}") for n in range(1, start.threads)]
        for slot in slots:
            slot.start()
        self._work_on()
        for slot in slots:
            slot.join()
        plugins.manager.tell("yadtq_child_stopping", child=identity)

    def _prepare(self, start: Start) -> tuple[Ready, Plugins]:
        """Load what this child is to run; raises for what cannot be had, unless it may go on without."""
        with redirect_stdout(sys.stderr):  # what an import prints is nobody's answer
            registry, plugins = Registry(start.imports), load_plugins()
            tasks, missing = registry.load_all()
        broken: list[YadtqError] = [*plugins.errors, *missing]
        if broken and not start.lenient:
            raise broken[0]
        settings = plugins.configure(start.settings)
        payloads = plugins.payloads(settings)
        self._runner = Runner(registry.get, plugins, payloads, start.worker_id, self._progress)
        return Ready(tasks, "", [*map(str, broken), *registry.undotted()]), plugins

    def _started(self) -> Start:
        while not self._early:
            frames = self._control.read()
            if frames is None:
                os._exit(_ORPHANED)
            self._early += frames
        start = decode_control(self._early.pop(0))
        if not isinstance(start, Start):
            raise YadtqError(f"the worker's first word was {start!r}, not Start")
        return start

    def _forked(self) -> None:
        """Let go of the pipes in a process that a task forked.

        It would take jobs that nobody knows it has, and by holding the pipes open hide the death of its parent.
        """
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (self._control.fd, self._work.fd, self._tokens, self._reports):
            os.dup2(null, fd, inheritable=False)  # not closed: the number must not become one of the task's own files
        os.close(null)

    def _work_on(self) -> None:
        """Be a slot; one that cannot go on ends the child, or its job would count as running for ever."""
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
                os._exit(0)  # a process that the task forked has come back from it: the task's end is not its to tell
            data = frame(done)
            with self._writing:
                write_all(reports, data)

    def _take(self, seq: int) -> Job:
        """Return the job whose token was read; its frame was sent before or is on its way."""
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

    def _obey(self) -> None:
        """Hear the control pipe. Its end means that the worker is gone: end at once, whatever runs."""
        while True:
            for data in self._early:
                told = decode_control(data)
                if isinstance(told, Cancel):
                    self._runner.cancelled.add(told.seq)
            frames = self._control.read()
            if frames is None:
                os._exit(_ORPHANED)
            self._early = frames


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the worker dies; elsewhere than on Linux the control pipe tells.

    The signal is bound to the thread that started this process, which is the worker's main thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(_ORPHANED)


def _be_the_first_to_go() -> None:
    """Where memory runs out the kernel is to kill this process, not the worker; and a crash leaves no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        pass


def main() -> None:
    """Run as a child of a worker."""
    control, work, tokens, reports, parent = map(int, sys.argv[1:6])
    die_with(parent)
    _be_the_first_to_go()
    for fd in (control, work, tokens, reports):
        os.set_inheritable(fd, False)  # what a task starts must not keep our pipes open
    Child(control, work, tokens, reports).main()
