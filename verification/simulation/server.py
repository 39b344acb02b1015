"""The one real Valkey of all histories, spoken to over its unix socket by hand: most of a history's time goes there."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import hiredis

from verification.simulation.scripts import EXPIRY, RUN, Virtual, virtual

START_US = 1_790_000_000_000_000
"""The server's clock at the beginning of each history, in microseconds since the epoch."""
_COPY = """
redis.call('SELECT', ARGV[2]) redis.call('FLUSHDB') redis.call('SELECT', ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', ARGV[2]) end
"""
_EXPIRE = f"""
local due = redis.call('ZRANGE', '{EXPIRY}', '-inf', ARGV[1], 'BYSCORE')
for _, key in ipairs(due) do redis.call('DEL', key) end
if #due > 0 then redis.call('ZREM', '{EXPIRY}', unpack(due)) end
return due
"""


class Server:
    """Commands are carried out at once; `micros` is the virtual time of that moment."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60.0)
        self._socket.connect(path)
        self._reader = hiredis.Reader()
        self.use({})

    def use(self, mutations: Mapping[str, tuple[str, str]]) -> None:
        """Know the production scripts from now on, with these mutations."""
        self._scripts = virtual(mutations)
        for script in self._scripts.values():
            answer = self.send([("SCRIPT", "LOAD", script.source)])[0]
            if isinstance(answer, hiredis.ReplyError):
                raise AssertionError(f"{script.name}: {answer}")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the answers to commands that are sent together, with a ReplyError for a refused one."""
        self._socket.sendall(b"".join([hiredis.pack_command(tuple(command)) for command in commands]))
        reader = self._reader
        answers: list[Any] = []
        while len(answers) < len(commands):
            answer = reader.gets()
            if answer is False:
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionError("the Valkey of the simulation has gone")
                reader.feed(data)
            else:
                answers.append(answer)
        return answers

    def script_of(self, command: Sequence[Any]) -> Virtual | None:
        """Return the script that a command of production calls, None for any other command."""
        return self._scripts[command[1]] if command[0] == "EVALSHA" else None

    def translated(self, command: Sequence[Any], micros: int) -> Sequence[Any]:
        """Return a command of production as this server is to be sent it."""
        script = self.script_of(command)
        return command if script is None else ("EVALSHA", script.sha, *command[2:], micros)

    def empty(self, run: str) -> None:
        """Forget all keys; the server's run is called `run`."""
        self.send([("FLUSHDB",)])
        self.restarted(run)

    def restarted(self, run: str) -> None:
        """Be another run of the server."""
        self.send([("SET", RUN, f"run_id:{run}")])

    def save(self) -> None:
        """Keep a copy of all keys, for `restore`."""
        self._copied(0, 1)

    def restore(self) -> None:
        """Be as at the last `save`."""
        self._copied(1, 0)

    def _copied(self, source: int, target: int) -> None:
        *_, answer = self.send([("EVAL", _COPY, 0, source, target), ("SELECT", 0)])
        if isinstance(answer, hiredis.ReplyError):
            raise AssertionError(answer)

    def expire(self, now_ms: int) -> list[str]:
        """Remove the keys whose time has come; return their names."""
        return [key.decode() for key in self.send([("EVAL", _EXPIRE, 0, now_ms)])[0]]

    def dump(self) -> dict[str, Any]:
        """Return every key of the namespace: hashes as mappings, sorted sets as {member: score}, else None."""
        names = sorted(key.decode() for key in self.send([("KEYS", "yadtq:*")])[0])
        kinds = self.send([("TYPE", name) for name in names]) if names else []
        reads = {b"hash": ("HGETALL",), b"zset": ("ZRANGE", "0", "-1", "WITHSCORES")}
        asked = [(name, kind) for name, kind in zip(names, kinds, strict=True) if kind in reads]
        answers = self.send([(reads[kind][0], name, *reads[kind][1:]) for name, kind in asked]) if asked else []
        found: dict[str, Any] = dict.fromkeys(names)
        for (name, _), flat in zip(asked, answers, strict=True):
            texts = [part.decode() for part in flat]
            found[name] = dict(zip(texts[::2], texts[1::2], strict=True))
        return found
