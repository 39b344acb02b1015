"""A Cluster of three masters, on which each call may touch the keys that it names, and no others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from redis.crc import key_slot

from tests.waiting import wait_until
from yadtq_core.errors import YadtqError
from yadtq_core.net.redis_client import Listener, Store, open_store
from yadtq_local import LocalValkey
from yadtq_local.ports import free_port

SLOTS = 16384
WITHOUT_KEYS = {"TIME", "INFO", "CONFIG", "ROLE", "PING"}
USER = ["on", ">strict", "+@all", "&*"]


class Cluster:
    """Three masters, each with a third of the slots."""

    def __init__(self, make_valkey: Callable[..., LocalValkey]) -> None:
        self.admins: list[Store] = []
        self.stores: list[Store] = []
        """As the user `strict`, whose keys `Strict` sets before each call."""
        buses = [free_port() for _ in range(3)]
        ports: list[str] = []
        for number, bus in enumerate(buses):
            config = {"cluster-enabled": "yes", "cluster-port": str(bus)}
            url = make_valkey(aof=False, port=0, config=config).url
            ports.append(url.rpartition(":")[2])
            self.admins.append(open_store(url))
            self.admins[-1].run("ACL", "SETUSER", "strict", "reset", *USER)
            self.stores.append(open_store(url.replace("://", "://strict:strict@")))
            first, end = SLOTS * number // 3, SLOTS * (number + 1) // 3
            self.admins[-1].run("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for port, bus in zip(ports[1:], buses[1:], strict=True):
            self.admins[0].run("CLUSTER", "MEET", "127.0.0.1", port, bus)
        wait_until(self.formed, "the three masters know each other")

    def formed(self) -> bool:
        """Return whether each master knows who has which slot."""
        states = [admin.run("CLUSTER", "INFO") for admin in self.admins]
        return all(b"cluster_state:ok" in state and b"cluster_slots_ok:16384" in state for state in states)

    def master(self, key: str) -> int:
        """Return which master has this key."""
        return next(number for number in range(3) if key_slot(key.encode()) < SLOTS * (number + 1) // 3)

    def close(self) -> None:
        """Close the connections."""
        for store in (*self.admins, *self.stores):
            store.close()


class Strict(Store):
    """Sends each command to the master of its slot, as a user that may touch the keys of this command alone."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.called: defaultdict[str, set[int]] = defaultdict(set)
        """On which masters each script was called, by SHA-1."""

    def run(self, *command: Any) -> Any:
        """Return the answer to one command."""
        return self.cluster.stores[self._allowed(command)].run(*command)

    def run_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send the commands one after another: the permission is that of one."""
        return [self.cluster.stores[self._allowed(command)].run_many([command])[0] for command in commands]

    def translated(self, error: Exception) -> YadtqError:
        """Return the error of yadtq for an error of redis-py."""
        return self.cluster.stores[0].translated(error)

    def listen(self, channel: str) -> Listener:
        """Subscribe on the first master: a push reaches every one."""
        return self.cluster.admins[0].listen(channel)

    def close(self) -> None:
        """Leave the connections to the cluster."""

    def _allowed(self, command: Sequence[Any]) -> int:
        """Let the user touch the keys of this command; return its master."""
        keys = keys_of(command)
        assert len({key_slot(key.encode()) for key in keys}) <= 1, f"{command[0]} has keys of several slots: {keys}"
        master = self.cluster.master(keys[0]) if keys else 0
        self.cluster.admins[master].run("ACL", "SETUSER", "strict", "resetkeys", *(f"~{key}" for key in keys))
        if command[0] == "EVALSHA":
            self.called[command[1]].add(master)
        return master


def keys_of(command: Sequence[Any]) -> list[str]:
    """Return the keys that a command names."""
    if command[0] in ("EVAL", "EVALSHA"):
        return list(command[3 : 3 + int(command[2])])
    return [] if command[0] in WITHOUT_KEYS else [command[1]]
