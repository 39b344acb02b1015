"""A shell in which a page's commands are typed; one that keeps running (a worker) gets another terminal."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.expected import learnt, pattern_of, with_ids
from tests.docs.pages import ROOT
from tests.environments import TO_BUILD, Environment, build
from yadtq_core.installed import BLOCK

PATIENCE = 90.0
"""Seconds for one command, and for what a lasting one is to print."""
_LASTS = re.compile(r"(\w+=\S+ )*(yadtq (worker|dev)|python (worker|monitor)\.py|yadtq monitor(?!.*--once))\b")
_BEGUN = "…\n00:00:00 INFO tasks: …\n"
"""The last line of a worker before it is online, for pages that do not show its lines."""
_ASKS = re.compile(r"\byadtq (query|monitor)\b(?!.*--follow)")
"""Commands that show the present state: a reader who is too early repeats them."""
AGAIN = 40.0
_BARE = re.compile(r"(\w+=\S+ )*yadtq config\b")
"""Shows settings and reaches no service: shown as they are without the tests' addresses."""
_ADDRESSES = ("YADTQ_BROKER", "YADTQ_BACKEND", "YADTQ_NAMESPACE")
_OURS = re.compile(r"YADTQ_\w+|WORKER_ID|CLAIM_STALE_SECONDS")


def blocked_for_readers() -> str:
    """Return the plugins that a reader of the pages does not have: all but yadtq-local, which brings `yadtq dev`."""
    return ",".join(name for name in os.environ[BLOCK].split(",") if name != "yadtq-local")


class Terminal:
    """The shell, its folder and environment; everything started in it ends with it."""

    def __init__(self, folder: Path, services: dict[str, str]) -> None:
        self.folder = folder
        self._outputs = folder.parent / f"{folder.name}-output"
        self._outputs.mkdir()
        self._ids: dict[str, str] = {}
        self._count = 0
        self._lasting: list[int] = []
        mine = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
        mine[BLOCK] = blocked_for_readers()
        path = f"{Path(sys.executable).parent}{os.pathsep}{mine.get('PATH', '')}"
        self._shell = subprocess.Popen(
            ["sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where the shell reports its killed jobs
            text=True,
            cwd=folder,
            env={**mine, **services, "PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "100"},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()

    def type(self, command: str, shown: str, place: str, *, may_fail: bool = False) -> None:
        """Run a command; its output must be what the page shows, where it shows any.

        may_fail: the page goes on to ask for the exit code; else it must be 0.
        """
        command = with_ids(command, self._ids)
        if _LASTS.match(command) and not command.endswith("&") and not may_fail:
            self._last(command, shown, place)
            return
        until = time.monotonic() + AGAIN
        while True:
            output, code = self._run(command)
            assert may_fail or code == 0, f"{place}: `{command}` ended with {code}:\n{output.read_text()}"
            if not shown or self._is_shown(output, shown, command, whole=not command.endswith("&")):
                return
            if not _ASKS.search(command) or time.monotonic() > until:
                self._refuse(output, shown, command, place)

    def interrupt(self) -> None:
        """Press ctrl-C where something lasts, and wait for its end."""
        for pid in self._lasting:
            os.kill(pid, signal.SIGINT)
            self._run(f"wait {pid}")
        self._lasting.clear()

    def without_services(self) -> None:
        """Forget the services of the tests: later commands use those that the page starts."""
        self._run(f"unset {' '.join(_ADDRESSES)}")

    def unblock(self, plugins: Sequence[str]) -> None:
        """Let these of our own plugins be loaded from here on, as for a reader who has installed them."""
        blocked = [name for name in os.environ[BLOCK].split(",") if name not in plugins]
        self._run(f"export {BLOCK}={','.join(blocked)}")

    def activate_new(self) -> None:
        """Make and activate an environment with yadtq (its wheel), and with what tests and builds a plugin."""
        place = self.folder.parent / "environment"
        made = Environment(place / "venv", ["yadtq", "pytest", "build", *TO_BUILD])
        made.install(*build([ROOT], place))
        self._run(f'export PATH="{made.bin}:$PATH"')

    def _run(self, command: str) -> tuple[Path, int]:
        output = self._next_output()
        if _BARE.match(command):
            command = f"( unset {' '.join(_ADDRESSES)}; {command} )"
        # The exit code of the command before stands for `$?`.
        self._write(f'(exit $code)\n{{ {command}\n}} > "{output}" 2>&1 < /dev/null; code=$?; echo "$code"\n')
        return output, int(self._answer(command))

    def _last(self, command: str, shown: str, place: str) -> None:
        output = self._next_output()
        self._write(f'( exec env {command} ) > "{output}" 2>&1 < /dev/null & echo $!\n')
        self._lasting.append(int(self._answer(command)))
        until = time.monotonic() + PATIENCE
        while not self._is_shown(output, shown or _BEGUN, command, whole=False):
            if time.monotonic() > until:
                self._refuse(output, shown, command, place)
            time.sleep(0.05)

    def _is_shown(self, output: Path, shown: str, command: str, *, whole: bool) -> bool:
        """Return whether the output is what is shown, or (not `whole`) begins with it; learn its IDs."""
        pattern = pattern_of(shown, self._ids | {one: one for one in _ids_in(command)})
        text = output.read_text()
        found = pattern.fullmatch(text) if whole else pattern.match(text)
        if found and text:
            self._ids |= learnt(shown, found)
        return bool(found and text)

    def _refuse(self, output: Path, shown: str, command: str, place: str) -> None:
        raise AssertionError(f"{place}: `{command}` is shown with\n{shown}\nbut prints\n{output.read_text()}")

    def _next_output(self) -> Path:
        self._count += 1
        output = self._outputs / str(self._count)
        output.touch()
        return output

    def _write(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text)
        self._shell.stdin.flush()

    def _answer(self, command: str) -> str:
        assert self._shell.stdout is not None
        ready, _, _ = select.select([self._shell.stdout], [], [], PATIENCE)
        assert ready, f"`{command}` has not ended after {PATIENCE:g} s"
        line = self._shell.stdout.readline()
        assert line, f"the shell ended at `{command}`"
        return line


def _ids_in(command: str) -> list[str]:
    return re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", command)
