"""`python -m tests.answers`: try every case and every contract now and print the tables; exit 1 if one is not as it
must be.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.answers.contracts import contract_table
from tests.answers.table import CASES, beds, row, under_way
from tests.services import KAFKA_VARIABLE
from yadtq_core.errors import LocalStackError
from yadtq_local import LocalKafka

HEAD = "| row | case | done | exit | message |\n|---|---|---|---|---|"


def main() -> int:
    """Print the table; return the exit code."""
    with ExitStack() as at_end:
        folder = Path(at_end.enter_context(tempfile.TemporaryDirectory(prefix="answers")))
        address = os.environ.get(KAFKA_VARIABLE) or at_end.enter_context(LocalKafka(folder / "shared")).url
        tried_in = at_end.enter_context(beds(folder, address))
        futures = at_end.enter_context(under_way(tried_in, CASES))
        wrong = 0
        print(HEAD)
        for case in CASES:
            tried = futures[case].result()
            wrong += bool(tried.faults)
            print(row(tried_in, tried), flush=True)
        left = tried_in.left()
        print(
            f"\n{len(CASES)} cases, {wrong} not as they must be; left behind by those that must leave nothing: {left}"
        )
    contracts, failed = contract_table()
    print(f"\n{contracts}")
    return 1 if wrong or left or failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LocalStackError as error:
        sys.exit(f"{error} (or give the address of a Kafka: {KAFKA_VARIABLE}=kafka://HOST:PORT)")
