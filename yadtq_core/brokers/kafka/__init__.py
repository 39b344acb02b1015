"""The broker on Kafka, by kafka-python. Importing this costs the import of kafka (180–345 ms): only `open` needs it."""

from yadtq_core.brokers.kafka.broker import KafkaBroker, open
from yadtq_core.brokers.kafka.consumer import KafkaGroupConsumer
from yadtq_core.brokers.kafka.tuning import Tuning

__all__ = ["KafkaBroker", "KafkaGroupConsumer", "Tuning", "open"]
