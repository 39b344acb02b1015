"""A program written by hand that submits one task and ends: the raw side of `yadtq submit`.

    python -m benchmarks.one_off KAFKA-HOST:PORT REDIS-URL TOPIC PREFIX

It imports only the two client libraries, and does the minimum of a submit: one record, one acknowledged message.
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path

import redis
from kafka import KafkaProducer


def main(server: str, redis_url: str, topic: str, prefix: str) -> None:
    """Submit one task."""
    task_id = str(uuid.uuid4())
    message = json.dumps({"id": task_id, "task": "add", "args": [1, 2, 3]}).encode()
    store = redis.Redis.from_url(redis_url, protocol=2)
    script = (Path(__file__).parent / "lua" / "create.lua").read_text("utf-8")
    keys = [f"{prefix}open", f"{prefix}task:{task_id}", f"{prefix}message:{task_id}"]
    now = int(store.eval(script, len(keys), *keys, "add", 10_000, message))
    producer = KafkaProducer(bootstrap_servers=[server], api_version=(4, 3), acks="all", enable_idempotence=False)
    producer.send(topic, message, timestamp_ms=now).get(10)
    producer.close()
    print(task_id)


if __name__ == "__main__":
    main(*sys.argv[1:5])
