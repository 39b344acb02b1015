"""The cases of submit: arguments, names, files, options, and values from code."""

from __future__ import annotations

import json
import re
import signal
import socket
import textwrap

from tests.answers.bed import NO_ID, Answer, Bed, Case, cli

ADD, MUL, SLEEP = ["submit", "add"], ["submit", "mul"], ["submit", "sleep"]


def refused(row: str, name: str, words: list[str], text: str) -> Case:
    """Return the case of arguments that are refused; the text is taken unchanged."""
    return cli(row, name, words, 2, re.escape(text))


def _file(row: str, name: str, task: str, data: bytes, code: int, text: str) -> Case:
    """Return the case of arguments that come from a file."""

    def ask(bed: Bed) -> Answer:
        return bed.run("submit", task, f"@{bed.file('arguments.json', data)}")

    return Case(row, name, f"yadtq submit {task} @arguments.json", ask, code, text)


def _batch(row: str, name: str, line: str | bytes, text: str, code: int = 2) -> Case:
    data = line if isinstance(line, bytes) else line.encode()
    shown = line[:50] if isinstance(line, str) else "…"
    return cli(row, name, ["submit", "--batch", "-"], code, text, stdin=data)._replace(
        done=f"echo '{shown}' | yadtq submit --batch -"
    )


def _code(row: str, name: str, expression: str, text: str) -> Case:
    """Return the case of a value that a program submits."""
    program = f"""
        import decimal, sys
        from yadtq_core import Client, YadtqError
        loop = []; loop.append(loop)
        with Client.connect() as client:
            try:
                client.submit("shop.keep", {expression})
            except YadtqError as error:
                sys.exit(f"{{type(error).__name__}}: {{error}}" if error.exit_code == 2 else repr(error))
    """

    def ask(bed: Bed) -> Answer:
        return bed.python("-c", textwrap.dedent(program))

    return Case(row, name, f'client.submit("shop.keep", {expression})', ask, 1, text)


def _interrupted(bed: Bed) -> Answer:
    """Interrupt a submit while it waits for a broker that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        process = bed.start("submit", "add", "[1]", "--broker", f"kafka://127.0.0.1:{mute.getsockname()[1]}")
        mute.settimeout(60)
        connection, _ = mute.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    return Answer(process.returncode, out.decode(), err.decode(), 0.0)


def _same_id(bed: Bed) -> Answer:
    task_id = bed.submitted("add", "[1]")
    return bed.run("submit", "--batch", "-", stdin=json.dumps({"task": "add", "args": [2], "id": task_id}).encode())


def _pipe(bed: Bed) -> Answer:
    """Name a pipe that has no writer."""
    import os  # noqa: PLC0415

    path = bed.folder / "pipe"
    os.mkfifo(path)
    return bed.run("submit", "add", f"@{path}", wait=60)


NAME = "not a task name: "
ARGUMENTS = [
    refused("1", "array without an end", [*ADD, "[1,2,3"], "not JSON: expected ',' or ']' at column 7"),
    refused("2", "quotes eaten by the shell", [*ADD, "['a']"], "JSON strings use double quotes; wrap the whole in"),
    refused("3", "empty text", [*ADD, ""], "add needs a JSON array, got nothing"),
    refused("3", "no arguments", ADD, "add needs a JSON array, got nothing"),
    refused("4", "a number", [*ADD, "5"], "add: expected a JSON array, got a number"),
    refused("4", "an object", [*ADD, '{"a":1}'], "add: expected a JSON array, got an object"),
    refused("4", "null", [*ADD, "null"], "add: expected a JSON array, got null"),
    refused("4", "a string", [*ADD, '"x"'], "add: expected a JSON array, got a string"),
    refused("5", "text behind the array", [*ADD, "[1,2,3] trailing"], "unexpected text after the array at column 9"),
    refused("6", "NaN", [*ADD, "[NaN, Infinity]"], "NaN and Infinity are not JSON"),
    refused("7", "a float out of range", [*ADD, "[1e400]"], "number out of range"),
    _file("8", "an integer of 5,000 digits", "add", b"[" + b"9" * 5000 + b"]", 2, "too long: 5000 digits, limit 1000"),
    _file(
        "9", "2,000 integers of 4,300 digits", "mul", json.dumps([10**999] * 8600).encode(), 2, "larger than 256 KiB"
    ),
    _file("9", "a product of 200,000 digits", "mul", json.dumps([10**900] * 222).encode(), 2, "result would have"),
    _file(
        "10", "a result that does not print", "mul", json.dumps([10**999] * 5).encode(), 2, "4996 digits, limit 4300"
    ),
    refused("11", "text times a number", [*MUL, '["a", 1000000000]'], 'element 0 is a string; "a" is not a number'),
    refused(
        "12", "a list times a number", [*MUL, "[[0], 1000000000]"], "element 0 is an array; only numbers are taken"
    ),
    refused("13", "a boolean", [*ADD, "[true, 1]"], "element 0 is a boolean; use 1, not true"),
    refused("14", "numbers as text", [*ADD, '["1","2"]'], 'element 0 is a string; use 1, not "1"'),
    refused("15", "nothing to subtract", ["submit", "sub", "[]"], "sub needs at least one number"),
    _file(
        "16", "a float beside 10**400", "add", json.dumps([10**400, 0.5]).encode(), 2, "too large to mix with a float"
    ),
    refused("18", "a negative duration", [*SLEEP, "[-1]"], "sleep seconds must be 0..86400, got -1"),
    refused("19", "NaN seconds", [*SLEEP, "[NaN]"], "NaN and Infinity are not JSON"),
    refused("20", "an absurd duration", [*SLEEP, "[1e30]"], "sleep seconds must be 0..86400, got 1e+30"),
    refused("21", "seconds as text", [*SLEEP, '["5"]'], "sleep takes exactly one number"),
    refused("21", "seconds missing", [*SLEEP, "[]"], "sleep takes exactly one number, got 0"),
    refused("21", "seconds twice", [*SLEEP, "[1,2]"], "sleep takes exactly one number, got 2"),
    cli("22", "a duration at its limit", [*SLEEP, "[86400]"], 0, "Task ID: ", writes=True),
    refused("26", "100,000 arrays in each other", [*ADD, "[" * 100_000], "arguments are nested deeper than 32"),
    refused("27", "900 arrays in each other", [*ADD, "[" * 900 + "]" * 900], "arguments are nested deeper than 32"),
    refused("29", "a name twice in an object", [*ADD, '[{"a":1,"a":2}]'], "the name 'a' is twice in an object"),
    refused("30", "a lone surrogate", [*ADD, '["\\ud800"]'], "a string has a lone surrogate"),
    refused("32", "Latin-1 on the command line", [*ADD, '["\udce9"]'], "not UTF-8 at byte 2"),
    refused("32", "a byte order mark", [*ADD, "\ufeff[1]"], "a byte order mark; leave it out"),
    _file("32", "a file of UTF-16", "add", "[1]".encode("utf-16"), 2, "is not UTF-8 at byte 0"),
    _file("32", "a file of Latin-1", "add", b'["\xe9"]', 2, "is not UTF-8 at byte 2"),
]
NAMES = [
    refused(
        "23", "an unknown task", ["submit", "ad", "[1]"], "unknown task 'ad'; did you mean 'add'? known: add, mul, "
    ),
    refused("24", "a path", ["submit", "../../x", "[1]"], f"{NAME}'../../x'"),
    refused("24", "a function of Python's", ["submit", "os.system", '["id"]'], "unknown task 'os.system'; known: "),
    refused("25", "a name of 10 KB", ["submit", "a" * 10_000, "[1]"], NAME),
    refused("25", "an empty name", ["submit", "", "[1]"], f"{NAME}''"),
    refused("25", "a blank in it", ["submit", "a b", "[1]"], f"{NAME}'a b'"),
    refused("25", "a newline in it", ["submit", "a\nb", "[1]"], f"{NAME}'a\\nb'"),
    refused("25", "an escape sequence", ["submit", "\x1b[2Jadd", "[1]"], f"{NAME}'\\x1b[2Jadd'"),
    refused("25", "full width letters", ["submit", "ＡＤＤ", "[1]"], f"{NAME}'ＡＤＤ'"),
    refused("25", "right-to-left override", ["submit", "add\u202e", "[1]"], f"{NAME}'add\\u202e'"),
]
FILES = [
    _file("28", "a file of 300 KB", "add", b"[" + b"1," * 150_000 + b"1]", 2, "is larger than 256 KiB"),
    refused("28", "a device", [*ADD, "@/dev/zero"], "arguments from '/dev/zero' is no regular file"),
    refused("28", "a folder", [*ADD, "@/"], "arguments from '/': is a directory"),
    refused("28", "no such file", [*ADD, "@missing.json"], "arguments from 'missing.json': no such file or directory"),
    Case("28", "a pipe without a writer", "yadtq submit add @pipe", _pipe, 2, "is no regular file; use a pipe: `@-`"),
    refused("28", "a batch without an end", ["submit", "--batch", "/dev/zero"], "line 1: has no end within 64 MiB"),
    refused("28", "a batch that is a folder", ["submit", "--batch", "/"], "--batch '/': is a directory"),
    refused("28", "a batch that is not there", ["submit", "--batch", "nosuch"], "--batch 'nosuch': no such file"),
    _batch(
        "28", "a line of 300 KB", '{"task": "add", "args": [' + "1," * 150_000 + "1]}", "line 1: longer than 272 KiB"
    ),
    _batch("29", "a line with a name twice", '{"task": "add", "task": "mul"}', "the name 'task' is twice"),
    _batch("32", "a line of Latin-1", b'{"task": "\xe9"}', "line 1: not UTF-8 at byte 10"),
    _batch("36", "a line that is no JSON", "add 1 2", "line 1: the line is not JSON: expected a value at column 1"),
    _batch(
        "36", "a field that is misspelt", '{"task": "add", "quue": "x"}', "unknown field 'quue'; did you mean 'queue'"
    ),
]
IDS = [
    *(
        _batch("33", f"the ID {shown}", json.dumps({"task": "add", "args": [1], "id": bad}), "line 1: not a task ID: ")
        for shown, bad in (
            ("of 300 characters", "a" * 300),
            ("../x", "../x"),
            ("*", "*"),
            ("with a newline", f"{NO_ID}\n"),
            ("in braces", f"{{{NO_ID}}}"),
            ("urn:uuid:…", f"urn:uuid:{NO_ID}"),
            ("in capitals", NO_ID.upper()),
        )
    ),
    Case("34", "the same ID, other arguments", "… | yadtq submit --batch -", _same_id, 2, "exists already with", True),
]
OPTIONS = [
    refused("35", "a negative delay", [*ADD, "[1]", "--delay", "-5"], "--delay: not a duration: '-5'"),
    refused("35", "a timeout of 0", [*ADD, "[1]", "--wait", "--timeout", "0"], "--timeout takes 0.001 to "),
    refused(
        "35", "too many retries", [*ADD, "[1]", "--retries", "1e9"], "--retries takes a whole number from 0 to 1000"
    ),
    refused("35", "digits of another script", [*ADD, "[1]", "--retries", "١٢"], "--retries takes a whole number"),
    refused("35", "an underscore in a number", [*ADD, "[1]", "--retries", "1_0"], "--retries takes a whole number"),
    refused("35", "a queue's name", [*ADD, "[1]", "--queue", "A b"], "not a queue name: 'A b'"),
    refused("35", "a header without a value", [*ADD, "[1]", "--header", "x"], "--header takes name=value, got 'x'"),
    refused("35", "an unknown option", [*ADD, "[1]", "--priority", "99"], "No such option: --priority"),
    refused("35", "an unknown command", ["submitt"], "No such command 'submitt'"),
]
VALUES = [
    _code("37", "a set", "[{1}]", r"InvalidArguments: .* is of type set, which JSON cannot represent; use a list"),
    _code("37", "a Decimal that is no number", "decimal.Decimal('nan')", "is NaN: NaN and Infinity are not JSON"),
    _code("37", "a complex number", "1j", r"is of type complex, which JSON cannot represent"),
    _code("37", "a key that is no text", "{(1, 2): 3}", r"has a key of type tuple; a key is text"),
    _code("37", "a list that holds itself", "loop", r"nested|refers to itself"),
    _code("37", "an object", "object()", r"is of type object, which JSON cannot represent"),
]
CASES = [
    *ARGUMENTS,
    *NAMES,
    *FILES,
    *IDS,
    *OPTIONS,
    *VALUES,
    Case(
        "38",
        "ctrl-C during a submit",
        "yadtq submit add '[1]'",
        _interrupted,
        6,
        f"outcome unknown for task {'.' * 36}: ",
    ),
]
