"""The Lua scripts as constants: the text of each file behind the one prelude, and its SHA-1.

A script's first line (`#!lua …`) stays first; the prelude comes after it. Nothing else is ever joined to a script:
all data travels in ARGV, all keys in KEYS.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple

BATCH = 200
"""IDs in one call: more adds latency for everybody else, not speed (performance.md), and the scripts unpack them."""


class Script(NamedTuple):
    """One script, ready for EVALSHA; `source` is what EVAL takes where the server does not know it yet."""

    name: str
    source: str
    sha: str


def _load(name: str) -> Script:
    folder = files("yadtq_core.backends") / "lua"
    first, _, body = (folder / f"{name}.lua").read_text("utf-8").partition("\n")
    source = f"{first}\n{_PRELUDE}{body}"
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


_PRELUDE = (files("yadtq_core.backends") / "lua" / "prelude.lua").read_text("utf-8")

CREATE = _load("create")
CONFIRM = _load("confirm")
CLAIM = _load("claim")
OFFER = _load("offer")
EXTEND = _load("extend")
FINISH = _load("finish")
RELEASE = _load("release")
DUE = _load("due")
SWEEP = _load("sweep")
MESSAGES = _load("messages")
BURIED = _load("buried")
CANCEL = _load("cancel")
WATCH = _load("watch")
EPOCH = _load("epoch")
HEARTBEAT = _load("heartbeat")

ALL = (
    CREATE,
    CONFIRM,
    CLAIM,
    OFFER,
    EXTEND,
    FINISH,
    RELEASE,
    DUE,
    SWEEP,
    MESSAGES,
    BURIED,
    CANCEL,
    WATCH,
    EPOCH,
    HEARTBEAT,
)
