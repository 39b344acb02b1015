"""Several processes that share seeds or mutants, each with its core and its Valkey."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

from verification.simulation.mutants import Catch, hunt
from verification.simulation.mutation import Mutant
from verification.simulation.run import run
from verification.simulation.server import Server
from yadtq_local import LocalValkey

_servers: list[Server] = []
"""Of this process: one, from its start."""


class Told(NamedTuple):
    """How one history went; `text` is the history, if it is to be shown."""

    seed: int
    theme: str
    problem: str
    digest: str
    text: str


class Crew:
    """A pool of processes; use it by `crew`."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def seeds(self, seeds: Iterable[int], *, show: bool) -> Iterator[Told]:
        """Yield how each history went, in the order of the seeds."""
        call = _shown if show else _seed
        return self._pool.map(call, seeds, chunksize=1 if show else 4)

    def mutants(self, mutants: Iterable[Mutant], within: int) -> Iterator[Catch]:
        """Yield how each hunt ended."""
        return self._pool.map(_hunt, [(mutant, within) for mutant in mutants])


@contextmanager
def crew(jobs: int) -> Iterator[Crew]:
    """Make a crew of `jobs` processes; they and their servers end with it."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="yadtq-", ignore_cleanup_errors=True) as folder:
        number = spawn.Value("i", 0)
        pool = ProcessPoolExecutor(jobs, spawn, _begin, (folder, number))
        try:
            yield Crew(pool)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(folder: str, number: Synchronized[int]) -> None:
    """Start this process's Valkey, which ends with it.

    The two take turns, as the strands do: on one core they hand over three times as fast as on two.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ctrl-C reaches all of them: the parent reports it
    with number.get_lock():
        mine, number.value = number.value, number.value + 1
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[mine % len(cores)]})
    valkey = LocalValkey(Path(folder) / str(mine), aof=False)
    valkey.start()
    _servers.append(Server(valkey.url.removeprefix("unix://")))


def _seed(seed: int, *, show: bool = False) -> Told:
    result = run(seed, _servers[0])
    text = result.world.history.text() if show or result.problem else ""
    return Told(seed, result.theme, result.problem, result.digest, text)


def _shown(seed: int) -> Told:
    return _seed(seed, show=True)


def _hunt(given: tuple[Mutant, int]) -> Catch:
    mutant, within = given
    return hunt(_servers[0], mutant, within)
