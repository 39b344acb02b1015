"""The production scripts, word for word but for three calls: the time, the server's run, and a key's expiry.

A server knows only the real time, so the microsecond of the virtual clock travels as the last argument and is taken
off before the script looks; a key's end is noted in a list that the history works off.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from yadtq_core.backends.redis import scripts

EXPIRY, RUN = "sim:expiry", "sim:run"
"""Beside the namespace: when keys end, and the run of the server as `INFO server` tells it."""
_TIME = "local clock = call('TIME')"
_VIRTUAL_TIME = (
    "local micros = tonumber(table.remove(ARGV))\nlocal clock = {math.floor(micros / 1000000), micros % 1000000}"
)
_EXPIRE = re.compile(r"call\('PEXPIRE', (\w+), ([\w\[\]]+)\)")
_TASK_KEYS = frozenset(
    {
        "create",
        "confirm",
        "claim",
        "offer",
        "extend",
        "finish",
        "release",
        "sweep",
        "take",
        "recover",
        "buried",
        "cancel",
    }
)


class Virtual(NamedTuple):
    """A script as the simulated server knows it; `changes` records or only reads them."""

    name: str
    source: str
    sha: str
    changes: bool


def virtual(mutations: Mapping[str, tuple[str, str]] | None = None) -> dict[str, Virtual]:
    """Return the scripts by the SHA-1 of what production sends.

    mutations: by file (`claim.lua`, `prelude.lua`) what is replaced by what in it, each occurrence.
    """
    known = {}
    for script in scripts.ALL:
        source = script.source
        for file, (old, new) in (mutations or {}).items():
            if file in ("prelude.lua", f"{script.name}.lua"):
                source = source.replace(old, new)
        source = _virtual(source)
        sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        known[script.sha] = Virtual(script.name, source, sha, script.name in _TASK_KEYS)
    return known


def _virtual(source: str) -> str:
    if _TIME not in source or "'PEXPIRE'" in _EXPIRE.sub("", source):
        raise AssertionError(
            "a script asks for the time or lets a key expire in a new way: teach verification.simulation it"
        )
    source = source.replace(_TIME, _VIRTUAL_TIME).replace("call('INFO', 'server')", f"call('GET', '{RUN}')")
    return _EXPIRE.sub(rf"call('ZADD', '{EXPIRY}', now + \2, \1)", source)
