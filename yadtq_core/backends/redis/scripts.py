"""The Lua scripts of the Redis backend: one file each in `lua/`, behind the shared prelude."""

from __future__ import annotations

from importlib.resources import files

from yadtq_core.net.redis_scripts import Script, load


def _load(name: str) -> Script:
    return load("yadtq_core.backends.redis", name, _PRELUDE)


_PRELUDE = (files("yadtq_core.backends.redis") / "lua" / "prelude.lua").read_text("utf-8")

CREATE = _load("create")
CONFIRM = _load("confirm")
CLAIM = _load("claim")
OFFER = _load("offer")
ENDED = _load("ended")
EXTEND = _load("extend")
FINISH = _load("finish")
RELEASE = _load("release")
DUE = _load("due")
SWEEP = _load("sweep")
TAKE = _load("take")
RECOVER = _load("recover")
MESSAGES = _load("messages")
BURIED = _load("buried")
CANCEL = _load("cancel")
WATCH = _load("watch")
EPOCH = _load("epoch")
HEARTBEAT = _load("heartbeat")

ALL = tuple(one for one in list(globals().values()) if isinstance(one, Script))
"""Every script above."""
