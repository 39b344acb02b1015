"""Lua scripts: loaded with their prelude, and called by SHA-1.

The first line of a script (`#!lua …`) stays first, the prelude follows it. Nothing else is joined to a script: data
travels in ARGV, keys in KEYS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from yadtq_core.net.redis_client import Store
from yadtq_core.net.redis_errors import ServerError

BATCH = 200
"""IDs in one call. A script blocks the server, so more IDs add latency for other clients; they bring no speed."""


class Script(NamedTuple):
    """One script, ready for EVALSHA. `source` is sent with EVAL if the server does not have the script yet."""

    name: str
    source: str
    sha: str


def load(package: str, name: str, prelude: str = "") -> Script:
    """Return the script `lua/<name>.lua` of a package, with the prelude after its first line."""
    first, _, body = (files(package) / "lua" / f"{name}.lua").read_text("utf-8").partition("\n")
    source = f"{first}\n{prelude}{body}"
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class ScriptCall(NamedTuple):
    """One script with its keys and arguments."""

    script: Script
    keys: list[str]
    arguments: list[Any]


def evaluate(store: Store, calls: Sequence[ScriptCall], first: Sequence[tuple[Any, ...]] = ()) -> list[Any]:
    """Send script calls together and return their answers. Raises the errors of `Store` for the first refusal.

    first: commands that are sent ahead of them in the same round trip. A server that lacks a script (after a restart or
    SCRIPT FLUSH) is sent its source.
    """
    sent = [("EVALSHA", s.sha, len(keys), *keys, *arguments) for s, keys, arguments in calls]
    answers = store.run_many([*first, *sent])
    for refused in answers[: len(first)]:
        if isinstance(refused, ServerError):
            raise store.translated(refused) from refused
    answers = answers[len(first) :]
    for index, answer in enumerate(answers):
        if isinstance(answer, ServerError):
            if not str(answer).startswith(("NOSCRIPT", "No matching script")):
                raise store.translated(answer) from answer
            script, keys, arguments = calls[index]
            answers[index] = store.run("EVAL", script.source, len(keys), *keys, *arguments)
    return answers
