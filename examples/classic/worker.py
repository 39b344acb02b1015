"""The original's worker: export WORKER_ID=worker1; python worker.py."""

import sys

from yadtq_core.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "worker")
    main()
