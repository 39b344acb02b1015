"""The hooks: the serializer, and the choice of tasks by the setting `msgpack.tasks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from yadtq_core.plugin import Serializer, Settings, Task, hookimpl
from yadtq_msgpack.serializer import MsgpackSerializer


class MsgpackSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[msgpack]`."""

    tasks: tuple[str, ...] = ()
    """Patterns of names (`shop.*`, `*.thumbnail`): the tasks whose results are written as MessagePack."""


class MsgpackPlugin:
    """The plugin of one client or child."""

    def __init__(self) -> None:
        self._patterns: tuple[str, ...] = ()

    @hookimpl
    def yadtq_settings(self) -> Mapping[str, type]:
        """Offer the section `[msgpack]`."""
        return {"msgpack": MsgpackSettings}

    @hookimpl
    def yadtq_configure(self, settings: Settings) -> None:
        """Store the patterns."""
        self._patterns = settings.section(MsgpackSettings).tasks

    @hookimpl
    def yadtq_serializers(self) -> Sequence[Serializer]:
        """Offer MessagePack, so that every process with the plugin can decode it."""
        return [MsgpackSerializer()]

    @hookimpl
    def yadtq_result_serializer(self, task: Task[..., Any]) -> str | None:
        """Choose MessagePack for the tasks that the settings name."""
        named = any(fnmatchcase(task.name, pattern) for pattern in self._patterns)
        return MsgpackSerializer.name if named else None
