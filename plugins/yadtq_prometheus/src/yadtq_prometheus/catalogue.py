"""Every metric with its kind, its labels and its meaning. A test compares the table in README.md."""

from __future__ import annotations

from typing import NamedTuple


class Described(NamedTuple):
    """One metric. A counter's name is shown with `_total` at its end."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


_TASK = ("task", "queue")

STARTED = Described("yadtq_tasks_started", "counter", _TASK, "Runs that this worker began.")
FINISHED = Described(
    "yadtq_tasks_finished",
    "counter",
    (*_TASK, "status"),
    "Runs that ended in this worker: success, failed, cancelled, or scheduled for a retry.",
)
RECLAIMED = Described("yadtq_tasks_reclaimed", "counter", _TASK, "Tasks that this worker reclaimed from lost workers.")
WAIT = Described(
    "yadtq_task_wait_seconds", "histogram", _TASK, "From submit to the start of the first run, a delay included."
)
RUN = Described("yadtq_task_run_seconds", "histogram", _TASK, "How long a run took.")

RUNNING = Described("yadtq_worker_running", "gauge", (), "Tasks that run in this worker.")
SLOTS = Described("yadtq_worker_slots", "gauge", (), "Tasks that this worker can run at a time.")
FREE = Described("yadtq_worker_free_slots", "gauge", (), "Slots that wait for a task.")
MEMORY = Described("yadtq_worker_memory_bytes", "gauge", (), "Resident memory, as of the last heartbeat.")
STOPPING = Described("yadtq_worker_stopping", "gauge", (), "1 while the worker drains.")
HEARTBEATS = Described("yadtq_worker_heartbeats", "counter", (), "Heartbeats that the backend answered.")
HEARTBEAT_AT = Described(
    "yadtq_worker_last_heartbeat_timestamp_seconds", "gauge", (), "Time of the last answered heartbeat."
)
WORKER = Described(
    "yadtq_worker_info", "gauge", ("worker", "host", "version"), "Always 1; the labels identify the worker."
)

READY = Described("yadtq_queue_ready", "gauge", ("queue",), "Tasks that wait for a free slot.")
QUEUE_RUNNING = Described("yadtq_queue_running", "gauge", ("queue",), "Tasks that run, in any worker.")
SCHEDULED = Described("yadtq_queue_scheduled", "gauge", ("queue",), "Tasks that wait for a time: delays, retries.")
ENDED = Described("yadtq_records_ended", "counter", ("status",), "Tasks that ended in the whole installation.")
BACKEND_UP = Described("yadtq_backend_up", "gauge", (), "1 if the backend answered; 0 if not, without queues.")

OF_WORKER = (
    STARTED,
    FINISHED,
    RECLAIMED,
    WAIT,
    RUN,
    RUNNING,
    SLOTS,
    FREE,
    MEMORY,
    STOPPING,
    HEARTBEATS,
    HEARTBEAT_AT,
    WORKER,
)
"""Metrics of one worker."""
OF_QUEUES = (READY, QUEUE_RUNNING, SCHEDULED, ENDED, BACKEND_UP)
"""Metrics of the installation, from the backend: the same in every worker."""
