"""Reads children, CPU time and memory of a process from Linux's /proc.

Other systems have no /proc: `AVAILABLE` is then False, and the measures that need it are left out.
"""

from __future__ import annotations

import os
from pathlib import Path

AVAILABLE = Path("/proc/self/stat").exists()
_TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12
"""Places of utime and stime in /proc/PID/stat after the name, which may have blanks (proc(5): 14, 15)."""


def children(pid: int) -> list[int]:
    """Return the live processes that any thread of this one has started."""
    return [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its threads, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, with its shared pages."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
