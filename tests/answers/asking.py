"""The cases of query, cancel, wait and monitor, and of results that are not what one hopes for."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import time

from tests.answers.bed import NO_ID, YADTQ, Answer, Bed, Case, cli
from tests.waiting import wait_until

BAD_IDS = (f"{{{NO_ID}}}", f"urn:uuid:{NO_ID}", "*", "", "x" * 300, f"{NO_ID}\x1b[2J")


def _damaged(field: str, value: str) -> Case:
    def ask(bed: Bed) -> Answer:
        task_id = bed.submitted("add", "[1]")
        bed.store.run("HSET", f"yadtq:{{{bed.namespace}:0}}:task:{task_id}", field, value)
        return bed.run("query", task_id)

    text = f"Status: failed\nError: .*damaged: field {field} is {value!r}"
    return Case("44", f"a record whose {field} is {value!r}", "yadtq query ID", ask, 0, text, writes=True)


def _wrong_type(bed: Bed) -> Answer:
    task_id = bed.submitted("add", "[1]")
    key = f"yadtq:{{{bed.namespace}:0}}:task:{task_id}"
    bed.store.run("DEL", key)
    bed.store.run("SET", key, "x")
    return bed.run("query", task_id)


def _cancelled(bed: Bed) -> Answer:
    """Cancel a task twice."""
    task_id = bed.submitted("add", "[1]", "--delay", "1h")
    bed.run("cancel", task_id)
    return bed.run("cancel", task_id)


def _running(bed: Bed) -> Answer:
    """Cancel a task that runs."""
    words = ["submit", "slow_task", "[60]", "--json"]
    task_id = bed.worked(*words).out.partition('"task_id": "')[2][:36]
    wait_until(lambda: "processing" in bed.worked("query", task_id).out, "slow_task runs", 40)
    return bed.worked("cancel", task_id)


def _many(bed: Bed) -> Answer:
    """Ask for 10,000 IDs on stdin, with blank lines, CRLF and remarks; two of them are known."""
    known = [bed.submitted("add", "[1]") for _ in range(2)]
    lines = ["# IDs", "", *known, *(f"{NO_ID[:-6]}{number:06x}  # gone\r" for number in range(10_000))]
    answer = bed.run("query", "-", stdin="\n".join(lines).encode())
    assert answer.out == "".join(f"{task_id} queued\n" for task_id in known)
    assert answer.err.count("\n") == 10_000
    return answer


def _narrow(bed: Bed) -> Answer:
    """Show the monitor on a terminal of 20 columns for a second."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 20, 0, 0))
    env = {name: value for name, value in bed.environment.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    process = subprocess.Popen([*YADTQ, "monitor"], env=env, cwd=bed.folder, stdout=child, stderr=subprocess.PIPE)
    os.close(child)
    shown = b""
    until = time.monotonic() + 40
    while b"TASKS" not in shown and time.monotonic() < until:
        shown += os.read(parent, 65536)
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    os.close(parent)
    text = shown.decode(errors="replace").replace("\x1b", "").replace("\r", "")
    return Answer(process.returncode, text, err.decode(), 0.0)


def _gone(bed: Bed) -> Answer:
    """Watch while the Redis goes away, and end."""
    server = bed.valkey(port=0)
    process = bed.start("monitor", "--interval", "0.1", "--backend", server.url)
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"=== WORKERS" in process.stdout.readline()
    server.kill()
    first = process.stderr.readline()
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    lines = sorted(set((first + err).decode().splitlines()))
    return Answer(process.returncode, "", "\n".join(lines), 0.0)


def task(row: str, name: str, call: str, arguments: str, code: int, text: str) -> Case:
    """Return the case of a task that is run by the worker and waited for."""
    words = ["submit", call, arguments, "--wait", "--timeout", "60"]
    shown = f"yadtq submit {call} '{arguments}' --wait"
    return Case(row, name, shown, lambda bed: bed.worked(*words), code, text, writes=True, within=70)


CASES = [
    task("17", "0.1 three times", "add", "[0.1,0.1,0.1]", 0, "Result: 0.30000000000000004\n"),
    task("31", "NUL in a string", "hostile.echo", '["a\\u0000b"]', 0, r'Result: "a\\u0000b"'),
    cli(
        "39",
        "an unknown ID",
        ["query", NO_ID],
        4,
        f"no task {NO_ID} \\(never submitted here, or its result has expired",
    ),
    *(cli("40", f"the ID {bad[:20]!r}", ["query", bad], 2, "not a task ID: '") for bad in BAD_IDS),
    *(
        cli("42", f"a wait of {value}", ["submit", "add", "[1]", "--wait", "--timeout", value], 2, "--timeout")
        for value in ("-1", "nan", "1e12", "9999999999999")
    ),
    task(
        "43", "a result of 5 MB", "hostile.long", "[5000000]", 1, "Status: failed\nError: .*(1 MiB|1,048,576|1048576)"
    ),
    task("43", "a result of 100 KB", "hostile.long", "[100000]", 0, r"… \(100002 characters; --full shows all\)"),
    task("43", "an escape sequence in a result", "hostile.echo", '["\\u001b[2J"]', 0, r'Result: "\\u001b\[2J"'),
    task("43", "an integer of 10,000 digits", "hostile.digits", "[10000]", 1, "integer of more than 4300 digits"),
    _damaged("st", "xyz"),
    _damaged("sa", "soon"),
    Case("44", "a record that is no hash", "yadtq query ID", _wrong_type, 0, "Error: .*damaged", writes=True),
    Case("45", "cancel twice", "yadtq cancel ID", _cancelled, 0, "had ended already", writes=True),
    Case("45", "cancel what runs", "yadtq cancel ID", _running, 0, "running; it was asked to stop", writes=True),
    cli("45", "cancel an unknown ID", ["cancel", NO_ID], 4, f"no task {NO_ID}"),
    Case("46", "10,000 IDs, two of them known", "yadtq query - < ids.txt", _many, 4, "ID|queued", writes=True),
    cli("46", "a line that is no ID", ["query", "-"], 2, "line 2: not a task ID: 'x'", stdin=b"\r\nx\r\n"),
    Case("55", "a terminal of 20 columns", "yadtq monitor", _narrow, 130, "WORKERS"),
    Case("55", "the Redis goes away", "yadtq monitor", _gone, 130, "Error: .*; last seen \\d+ s ago"),
    cli("55", "an interval of 0", ["monitor", "--interval", "0"], 2, "--interval takes 0.1 to 3600 seconds, got '0'"),
]
