"""The local stack: its servers, and the file by which commands and clients find it (`yadtq_core.local_stack`).

One Valkey carries the messages (streams) and keeps the records; with `kafka` a Kafka carries the messages. The file
`.yadtq/stack.json` (mode 0600) has addresses and process IDs while the stack runs.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from yadtq_core.errors import LocalStackError
from yadtq_core.local_stack import FILE
from yadtq_local.kafka import LocalKafka
from yadtq_local.server import LocalServer, Report, silent
from yadtq_local.valkey import LocalValkey

_LEFTOVER_SECONDS = 10.0
"""How long servers of a killed stack can run on: the guard's TERMINATE_SECONDS, and some reserve."""


class Stack:
    """The servers of one folder; a context manager that starts and stops them.

    folder: the data folder, created with mode 0700. kafka: a Kafka carries the messages. report: gets lines about slow
    steps.
    """

    def __init__(self, folder: Path, *, kafka: bool = False, report: Report = silent) -> None:
        self.folder = folder.absolute()
        self._valkey = LocalValkey(self.folder / "valkey", report=report)
        self._kafka = LocalKafka(self.folder / "kafka", report=report) if kafka else None
        self._at_end = ExitStack()

    @property
    def backend(self) -> str:
        """The address of the backend."""
        return self._valkey.url

    @property
    def broker(self) -> str:
        """The address of the broker."""
        if self._kafka is not None:
            return self._kafka.url
        scheme, _, rest = self._valkey.url.partition("://")
        return f"{scheme}+streams://{rest}"

    @property
    def servers(self) -> list[LocalServer]:
        """The servers in the order of their start."""
        return [self._valkey, *([self._kafka] if self._kafka else [])]

    def __enter__(self) -> Self:
        """Start the servers and write the stack file.

        Raises LocalStackError if another stack runs in this folder, the folder cannot be written, or a server does not
        start.
        """
        try:
            self._start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise LocalStackError(f"the local stack cannot keep its data in {self.folder}: {reason}") from None
        return self

    def _start(self) -> None:
        with ExitStack() as undo:
            undo.enter_context(self._locked_folder())
            for server in self.servers:
                server.await_folder(_LEFTOVER_SECONDS)
                undo.enter_context(server)
            undo.callback((self.folder / FILE).unlink, missing_ok=True)
            self._write_file()
            self._at_end = undo.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._at_end.close()

    def check(self) -> None:
        """Raise LocalStackError if a server has ended."""
        for server in self.servers:
            if not server.running:
                raise LocalStackError(f"{server.name} has ended; its log: {server.log}")

    def _locked_folder(self) -> IO[str]:
        """Return the lock of the folder, a file with the ID of this process."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        lock = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read(20).strip() or "another process"
            lock.close()
            raise LocalStackError(
                f"a local stack runs in {self.folder.parent} already (process {owner}): use it or end it first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def _write_file(self) -> None:
        """Write the stack file in one step, readable by this user only."""
        pids = {server.name.lower(): server.pid for server in self.servers}
        stack = {"broker": self.broker, "backend": self.backend, "pid": os.getpid(), "servers": pids}
        draft = self.folder / f"{FILE}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(stack, file)
            draft.replace(self.folder / FILE)
        except OSError:
            draft.unlink()
            raise
