"""The services of the fault runs: one Kafka and one Valkey, each behind two proxies, and all ended at the end.

All processes use `near`; a process that is to be cut off alone uses `far`. The harness uses no proxy.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.proxy import Proxy
from yadtq_local import LocalKafka, LocalValkey
from yadtq_local.ports import LOOPBACK, free_port

NEAR, FAR = "NEAR", "FAR"


class Ways:
    """The two proxies before one service."""

    def __init__(self, near: Proxy, far: Proxy) -> None:
        self.near = near
        self.far = far

    def of(self, place: str) -> Proxy:
        """Return the proxy of a place."""
        return self.far if place == FAR else self.near


class Stage:
    """Kafka and Valkey with their proxies; a context manager.

    aof: whether Valkey writes to disk. kafka: one that runs already, with its ways, to be used with another Valkey.

    The Valkey of all rows leaves it to the system when its file reaches the disk: with `everysec`, which yadtq wants,
    it may hold back writes that it has acknowledged for up to 2 s while a slow disk syncs, and a kill of the process
    alone would then lose some. One of a row's own syncs every second (R1b), and that a second is lost is R2.
    """

    def __init__(self, folder: Path, *, aof: bool = True, kafka: Stage | None = None) -> None:
        self.folder = folder
        self._at_end = ExitStack()
        self._lent = kafka
        fsync = "everysec" if kafka else "no"
        self.valkey = LocalValkey(folder / "valkey", port=0, aof=aof, config={"appendfsync": fsync})
        self._ports = {NEAR: free_port(), FAR: free_port()}
        self.kafka: LocalKafka = kafka.kafka if kafka else LocalKafka(folder / "kafka", advertised=self._ports)
        self.to_kafka: Ways

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self.valkey)
            undo.callback(self._wake)
            port = int(self.valkey.url.rpartition(":")[2])
            self.to_valkey = Ways(undo.enter_context(Proxy(port)), undo.enter_context(Proxy(port)))
            if self._lent is not None:
                self.to_kafka = self._lent.to_kafka
            else:
                undo.enter_context(self.kafka)
                proxies = [undo.enter_context(Proxy(self.kafka.ports[one], self._ports[one])) for one in (NEAR, FAR)]
                self.to_kafka = Ways(*proxies)
            self._at_end = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._at_end.close()

    def broker(self, place: str = NEAR) -> str:
        """Return the address of Kafka from a place."""
        return f"kafka://{LOOPBACK}:{self.to_kafka.of(place).port}"

    def backend(self, place: str = NEAR) -> str:
        """Return the address of Valkey from a place."""
        return f"redis://{LOOPBACK}:{self.to_valkey.of(place).port}"

    @property
    def straight_broker(self) -> str:
        """Kafka's own address, as `host:port`."""
        return self.kafka.url.removeprefix("kafka://")

    @property
    def straight_backend(self) -> str:
        """Valkey's own address."""
        return self.valkey.url

    def heal(self) -> None:
        """Bring back what a row that failed may have left broken."""
        for ways in (self.to_kafka, self.to_valkey):
            for proxy in (ways.near, ways.far):
                proxy.blackhole = proxy.lose_replies = False
                proxy.latency = proxy.resets = proxy.torn = 0.0
        for server in (self.valkey, self.kafka):
            if server.running:
                os.kill(server.pid, signal.SIGCONT)
            server.start()

    def _wake(self) -> None:
        if self.valkey.running:
            os.kill(self.valkey.pid, signal.SIGCONT)
