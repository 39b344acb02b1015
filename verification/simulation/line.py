"""A process's line to the store: `connect.Store` as `RedisBackend` uses it, through the weather."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import hiredis

from verification.simulation.server import START_US, Server
from verification.simulation.strands import SimulatedProcess
from verification.simulation.truth import FIELDS, INDEXES, Carried, Truth
from verification.simulation.weather import Fate, Weather
from yadtq_core.errors import BackendUnavailable, YadtqError
from yadtq_core.net.redis_errors import ServerError


class Line:
    """One process's connections. Each request and each answer takes a moment, in which others go on."""

    def __init__(
        self, process: SimulatedProcess, server: Server, weather: Weather, truth: Truth, rng: random.Random
    ) -> None:
        self._process = process
        self._loom = process.loom
        self._server = server
        self._weather = weather
        self._truth = truth
        self._rng = rng

    def run(self, *command: Any) -> Any:
        """Return the answer to one command; a refusal by the script is a bug."""
        answer = self.run_many([command])[0]
        if isinstance(answer, Exception):
            raise self.translated(answer)
        return answer

    def run_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the answers to commands that are sent together, if they arrive."""
        loom, weather = self._loom, self._weather
        loom.wait(weather.delay())
        fate = weather.store_fate()
        if fate is Fate.LOST or not weather.store_reached(self._process):
            self._give_up("was not heard", commands)
        if fate is Fate.LATE:
            loom.after(self._rng.uniform(0.1, 6.0), lambda: self._late(commands))
            self._give_up("gave up", commands)
        answers = self._carried_out(commands)
        if fate is Fate.TWICE:
            loom.wait(weather.delay())
            if not weather.store_reached(self._process):
                self._give_up("heard no answer", commands)
            answers = self._carried_out(commands)
        loom.wait(weather.delay())
        if fate is Fate.UNANSWERED or not weather.store_reached(self._process):
            self._give_up("heard no answer", commands)
        return answers

    def sound(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the answers to commands that are sent together; none may be refused."""
        answers = self.run_many(commands)
        assert not any(isinstance(answer, ServerError) for answer in answers)
        return answers

    def translated(self, error: Exception) -> YadtqError:
        """Return the value of a refusal. No script may be refused, so the history ends."""
        raise AssertionError(f"the server refuses: {error}")

    def close(self) -> None:
        """Do nothing: nothing is kept open."""

    def _give_up(self, how: str, commands: Sequence[Sequence[Any]]) -> None:
        names = [script.name if (script := self._server.script_of(each)) else each[0] for each in commands]
        self._truth.history.tell(self._truth.who(self._process), f"{' '.join(names)}: {how}")
        self._loom.wait(self._weather.patience())
        raise BackendUnavailable("the store does not answer")

    def _late(self, commands: Sequence[Sequence[Any]]) -> None:
        if not self._weather.store_away:
            self._carried_out(commands, late=True)

    def _carried_out(self, commands: Sequence[Sequence[Any]], *, late: bool = False) -> list[Any]:
        micros = START_US + int(self._loom.now * 1e6)
        return [self._one(command, micros, late=late) for command in commands]

    def _one(self, command: Sequence[Any], micros: int, *, late: bool) -> Any:
        if command[0] == "TIME":
            return [micros // 1_000_000, micros % 1_000_000]
        script = self._server.script_of(command)
        if script is None or not script.changes:
            answer = self._server.send([self._server.translated(command, micros)])[0]
            if command[0] == "HGETALL":  # in production, redis-py turns it into a mapping
                answer = dict(zip(answer[::2], answer[1::2], strict=True))
        else:
            keys = [key for key in command[3 : 3 + command[2]] if ":task:" in key]
            reads = [("HMGET", key, *FIELDS) for key in keys]
            looks = [("ZSCORE", f"{key[:-41]}{index}", key[-36:]) for key in keys for index in INDEXES]
            answer, *found = self._server.send([self._server.translated(command, micros), *reads, *looks])
            if isinstance(answer, hiredis.ReplyError):
                raise AssertionError(f"{script.name} failed: {answer}")
            call = Carried(self._process, script.name, keys, command[3 + command[2] :], micros // 1000, late)
            self._truth.executed(call, list(zip(found[: len(keys)], _places(found[len(keys) :]), strict=True)))
        return ServerError(str(answer)) if isinstance(answer, hiredis.ReplyError) else answer


def _places(scores: Sequence[bytes | None]) -> list[list[str]]:
    """Return the indexes in which each record is."""
    size = len(INDEXES)
    rows = [scores[start : start + size] for start in range(0, len(scores), size)]
    return [[name for name, score in zip(INDEXES, row, strict=True) if score is not None] for row in rows]
