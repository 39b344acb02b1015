"""Celery on Kafka (kombu's confluentkafka transport), with its most careful settings: acknowledge late, one at a time.

celery -A verification.faults.peers.celery_app worker …
python -m verification.faults.peers.celery_app submit PLAN | collect
"""

from __future__ import annotations

import os
import sys
import threading
import time

from celery import Celery, current_task
from celery.result import AsyncResult

from verification.faults import history as h
from verification.faults.peers.plan import (
    BACKEND,
    BROKER,
    PARTITIONS,
    TOPIC,
    Call,
    Scribe,
    calls,
    ids_told,
    plan_told,
    result,
)

app = Celery("peer", broker=f"confluentkafka://{os.environ[BROKER]}/", backend=os.environ[BACKEND])
app.conf.update(
    task_default_queue=os.environ[TOPIC],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,  # this transport has no fanout
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "num_partitions": PARTITIONS,
        "wait_time_seconds": 1,
        "kafka_consumer_config": {"session.timeout.ms": 10_000},
    },
)
scribe = Scribe()


def _add(*numbers: int) -> float:
    return scribe.run(current_task.request.id, 0.0, sum(numbers))


def _square(seconds: float, number: int) -> float:
    return scribe.run(current_task.request.id, seconds, number**2)


TASKS = {
    "faults.add": app.task(name="faults.add")(_add),
    "faults.square": app.task(name="faults.square")(_square),
}


def submit() -> None:
    """Submit what the plan says."""
    plan = plan_told()
    todo, lock, began = calls(plan), threading.Lock(), time.monotonic()

    def work() -> None:
        while True:
            with lock:
                call = next(todo, None)
            if call is None:
                return
            time.sleep(max(0.0, began + call.at - time.monotonic()))
            _submit(call)

    threads = [threading.Thread(target=work) for _ in range(plan.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _submit(call: Call) -> None:
    scribe.submit(call)
    error = None
    try:
        TASKS[call.task].apply_async(args=call.arguments, task_id=call.id)
    except Exception as raised:
        error = raised
    scribe.submitted(call, error)


def collect() -> None:
    """Write down all results that there are."""
    found: dict[str, h.RecordRow] = {}
    for task_id in ids_told():
        one = AsyncResult(task_id, app=app)
        if one.state == "SUCCESS":
            found[task_id] = result("", one.result)
    scribe.collected(found)


if __name__ == "__main__":
    {"submit": submit, "collect": collect}[sys.argv[1]]()
