"""Members of a Kafka group that are closed at the end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from yadtq_core.interfaces import Broker
from yadtq_core.testing.contracts.broker_bed import Member


class Members:
    """Members that are closed at the end."""

    def __init__(self) -> None:
        self._made: list[Member] = []

    def join(self, broker: Broker, queues: Sequence[str] = ("default",), name: str = "member") -> Member:
        """Make a member; it joins with its first step."""
        member = Member(broker.consumer(queues, member=name))
        self._made.append(member)
        return member

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for member in self._made:
            member.consumer.close(2.0)
