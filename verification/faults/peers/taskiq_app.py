"""taskiq on Kafka (taskiq-aio-kafka), with the most careful of its settings.

taskiq worker verification.faults.peers.taskiq_app:broker …
python -m verification.faults.peers.taskiq_app submit PLAN | collect
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from kafka.admin import NewTopic
from taskiq import Context, TaskiqDepends
from taskiq_aio_kafka import AioKafkaBroker
from taskiq_redis import RedisAsyncResultBackend

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
from verification.faults.processes import die_with

die_with(os.getppid())  # taskiq's own processes, which import this, would outlive a manager that is killed
RESULT_SECONDS = 3600
broker = AioKafkaBroker(
    os.environ[BROKER],
    kafka_topic=NewTopic(name=os.environ[TOPIC], num_partitions=PARTITIONS, replication_factor=1),
    result_backend=RedisAsyncResultBackend(os.environ[BACKEND], result_ex_time=RESULT_SECONDS),
)
broker.configure_consumer(
    group_id=os.environ[TOPIC],
    auto_offset_reset="earliest",  # else what is sent before a worker has joined would be passed over
    session_timeout_ms=10_000,
)
broker.configure_producer(acks="all", request_timeout_ms=10_000)
scribe = Scribe()
CONTEXT = TaskiqDepends()


def _add(first: int, second: int, third: int, context: Context = CONTEXT) -> float:
    return scribe.run(context.message.task_id, 0.0, first + second + third)


def _square(seconds: float, number: int, context: Context = CONTEXT) -> float:
    return scribe.run(context.message.task_id, seconds, number**2)


TASKS = {
    "faults.add": broker.task(task_name="faults.add")(_add),
    "faults.square": broker.task(task_name="faults.square")(_square),
}


async def submit() -> None:
    """Submit what the plan says."""
    plan = plan_told()
    await broker.startup()
    todo, began = calls(plan), time.monotonic()

    async def work() -> None:
        while (call := next(todo, None)) is not None:
            await asyncio.sleep(max(0.0, began + call.at - time.monotonic()))
            await _submit(call)

    await asyncio.gather(*(work() for _ in range(plan.threads)))
    await broker.shutdown()


async def _submit(call: Call) -> None:
    scribe.submit(call)
    error = None
    try:
        await TASKS[call.task].kicker().with_task_id(call.id).kiq(*call.arguments)
    except Exception as raised:
        error = raised
    scribe.submitted(call, error)


async def collect() -> None:
    """Write down all results that there are."""
    found: dict[str, h.RecordRow] = {}
    results = broker.result_backend
    await results.startup()
    for task_id in ids_told():
        if await results.is_result_ready(task_id):
            one = await results.get_result(task_id)
            if not one.is_err:
                found[task_id] = result("", one.return_value)
    await results.shutdown()
    scribe.collected(found)


if __name__ == "__main__":
    asyncio.run({"submit": submit, "collect": collect}[sys.argv[1]]())
