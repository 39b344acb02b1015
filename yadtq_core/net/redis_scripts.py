"""The Lua scripts as constants: the text of each file behind the one prelude, and its SHA-1.

A script's first line (`#!lua …`) stays first; the prelude comes after it. Nothing else is ever joined to a script:
all data travels in ARGV, all keys in KEYS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from yadtq_core.net.redis_client import ServerError, Store

BATCH = 200
"""IDs in one call: more adds latency for everybody else, not speed (performance.md), and the scripts unpack them."""


class Script(NamedTuple):
    """One script, ready for EVALSHA; `source` is what EVAL takes where the server does not know it yet."""

    name: str
    source: str
    sha: str


def load(package: str, name: str, prelude: str = "") -> Script:
    """Return the script `lua/<name>.lua` of a package, with a prelude behind its first line."""
    first, _, body = (files(package) / "lua" / f"{name}.lua").read_text("utf-8").partition("\n")
    source = f"{first}\n{prelude}{body}"
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class Call(NamedTuple):
    """One script with its keys and arguments."""

    script: Script
    keys: list[str]
    arguments: list[Any]


def evaluate(store: Store, calls: Sequence[Call]) -> list[Any]:
    """Return the answers of scripts that are sent together; raises the first refusal as `Store` does.

    A server that does not know a script (it has been restarted, or flushed) is sent its source.
    """
    answers = store.run_many([("EVALSHA", s.sha, len(keys), *keys, *arguments) for s, keys, arguments in calls])
    for index, answer in enumerate(answers):
        if isinstance(answer, ServerError):
            if not str(answer).startswith(("NOSCRIPT", "No matching script")):
                raise store.translated(answer) from answer
            script, keys, arguments = calls[index]
            answers[index] = store.run("EVAL", script.source, len(keys), *keys, *arguments)
    return answers
