"""The broker on Redis streams, for a Redis or Valkey that also keeps the records."""

from yadtq_core.brokers.redis_streams.broker import RedisStreamsBroker, open  # noqa: A004  called as `redis_streams.open`
from yadtq_core.brokers.redis_streams.consumer import StreamsConsumer

__all__ = ["RedisStreamsBroker", "StreamsConsumer", "open"]
