"""Run rows of the fault matrix on real services and print the table.

python -m verification.faults [ROW…] [--tasks 200] [--times 1] [--peers]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from verification.faults.peers import peer
from verification.faults.report import table
from verification.faults.row import Result, Row, run
from verification.faults.rows import ROWS
from verification.faults.stage import Stage

_INTERRUPTED = 130
"""A shell's number for what SIGINT has ended."""


def main() -> int:
    """Run what the command line asks for; return 1 where something does not hold."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # as ctrl-C does it: nothing is left behind
    signal.signal(signal.SIGINT, _stop)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="yadtq-faults-"))
    sys.stderr.write(f"histories and logs: {folder}\n")
    results: list[Result] = []
    try:
        for result in _results(options, folder):
            name = result.id if result.peer == "yadtq" else f"{result.id} {result.peer}"
            sys.stderr.write(f"{name}: {result.word} ({result.seconds:.0f} s)\n")
            results.append(result)
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped by ctrl-C after {len(results)} rows; nothing is left running\n")
        return _INTERRUPTED
    finally:
        sys.stdout.write(table(results) + "\n")
        sys.stderr.write(f"histories and logs are in {folder}, which may be deleted\n")
    return 0 if options.peers or all(result.good for result in results) else 1


def _stop(*_: object) -> NoReturn:
    """Leave by way of all that ends processes; a second ctrl-C must not keep them from it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _results(options: argparse.Namespace, folder: Path) -> Iterator[Result]:
    play = _peers_played if options.peers else _played
    for number in range(options.times):
        with Stage(folder / f"stage-{number}") as stage:
            yield from play(options.rows, stage, folder / f"pass-{number}", options)


def _played(rows: Sequence[Row], stage: Stage, folder: Path, options: argparse.Namespace) -> Iterator[Result]:
    for row in rows:
        yield run(row, stage, folder / row.id, tasks=options.tasks, outage=options.outage)


def _peers_played(rows: Sequence[Row], stage: Stage, folder: Path, options: argparse.Namespace) -> Iterator[Result]:
    for one in options.peers:
        one.install()
        for row in rows:
            if row.id in peer.PLAYS:
                into = folder / f"{row.id}-{one.name}"
                yield peer.run(one, row.id, stage, into, tasks=options.tasks, outage=options.outage)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m verification.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", type=_row, help="such as W1 K2; default: all")
    parser.add_argument("--tasks", type=int, default=200, help="tasks of each row (default 200)")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds of a long outage (default 60)")
    known = ",".join(one.name for one in peer.PEERS)
    text = "the rows that other queues go through, with these (default: all of them)"
    parser.add_argument("--peers", nargs="?", const=known, type=_peers, metavar=known, help=text)
    parser.add_argument("--times", type=int, default=1, help="how often all is run (default once)")
    parser.add_argument("--folder", type=Path, help="where histories and logs go; default: a new temporary folder")
    options = parser.parse_args()
    options.rows = options.rows or list(ROWS)
    if options.peers and not any(row.id in peer.PLAYS for row in options.rows):
        parser.error(f"other queues go through no row but {', '.join(peer.PLAYS)}")
    return options


def _row(word: str) -> Row:
    for row in ROWS:
        if row.id.lower() == word.lower():
            return row
    raise argparse.ArgumentTypeError(f"no row {word}; there are {', '.join(row.id for row in ROWS)}")


def _peers(word: str) -> list[peer.Peer]:
    known = {one.name: one for one in peer.PEERS}
    try:
        return [known[name] for name in word.split(",")]
    except KeyError as unknown:
        raise argparse.ArgumentTypeError(f"no peer {unknown}; there are {', '.join(known)}") from None


if __name__ == "__main__":
    sys.exit(main())
