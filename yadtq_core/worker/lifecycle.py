"""The stages of a worker's end."""

from __future__ import annotations

import threading


class Lifecycle:
    """Three flags. The main thread sets each of them once; every thread may read them or wait for them."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        """The worker claims and starts nothing new."""
        self.killed = threading.Event()
        """The worker has killed its children: their runs are requeued and do not count as lost."""
        self.finished = threading.Event()
        """Every run of this worker has ended or was requeued."""
