"""The broker on Kafka, by kafka-python.

Importing it imports kafka (180-345 ms), so it is imported only when such an address is opened.
"""

from yadtq_core.brokers.kafka.broker import KafkaBroker, open  # noqa: A004  called as `kafka.open`
from yadtq_core.brokers.kafka.consumer import KafkaGroupConsumer
from yadtq_core.brokers.kafka.tuning import Tuning

__all__ = ["KafkaBroker", "KafkaGroupConsumer", "Tuning", "open"]
