"""The original's monitor: python monitor.py."""

import sys

from yadtq_core.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "monitor")
    main()
