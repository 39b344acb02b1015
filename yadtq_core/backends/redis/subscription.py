"""The channel of one client, on which the IDs of ended tasks are pushed."""

from __future__ import annotations

from collections.abc import Sequence

from yadtq_core.net.redis_client import Listener


class RedisSubscription:
    """`interfaces.Subscription` by SUBSCRIBE."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    @property
    def channel(self) -> str:
        """The channel's name, for `watch`."""
        return self._listener.channel

    def wait(self, timeout: float) -> Sequence[str] | None:
        """Return the IDs pushed since the last call; None when pushes may have been missed."""
        pushed = self._listener.wait(timeout)
        return None if pushed is None else [task_id.decode() for task_id in pushed]

    def forget(self, ids: Sequence[str]) -> None:
        """Do nothing: an unwanted push costs less than a call that takes the channel from the record."""

    def close(self) -> None:
        """Disconnect; another thread than the waiting one may call it. Never raises."""
        self._listener.close()
