"""The original's client: python client.py --submit add "[1,2,3]", python client.py --query <task_id>."""

import sys

from yadtq_core.cli import main

COMMANDS = {"--submit": "submit", "--query": "query"}

if __name__ == "__main__":
    sys.argv[1:2] = [COMMANDS.get(word, word) for word in sys.argv[1:2]]
    main()
