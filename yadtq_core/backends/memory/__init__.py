"""The reference backend: everything in this process, by the rules of the Lua scripts, to be read and to test with."""

from yadtq_core.backends.memory.backend import MemoryBackend, open  # noqa: A004  called as `memory.open`
from yadtq_core.backends.memory.store import MemoryStore

__all__ = ["MemoryBackend", "MemoryStore", "open"]
