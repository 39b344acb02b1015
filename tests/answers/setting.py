"""The cases of settings: addresses, values, names, files, and the environment of a command."""

from __future__ import annotations

import os
import re
import subprocess

from tests.answers.bed import NO_ID, YADTQ, Answer, Bed, Case, cli

ADD = ["submit", "add", "[1]"]


def environment(
    row: str, name: str, variable: str, value: str, text: str, words: list[str] = ADD, code: int = 2
) -> Case:
    """Return the case of one variable of the environment."""
    return cli(row, name, words, code, re.escape(text), env={variable: value})


def broker(name: str, value: str, text: str) -> Case:
    """Return the case of a broker's address."""
    return environment("47", name, "YADTQ_BROKER", value, text)


def backend(name: str, value: str, text: str, code: int = 2) -> Case:
    """Return the case of a backend's address."""
    return environment("48", name, "YADTQ_BACKEND", value, text, code=code)


def _toml(name: str, data: bytes | None, text: str) -> Case:
    """Return the case of a settings file; None: it is a folder."""

    def ask(bed: Bed) -> Answer:
        path = bed.file("yadtq.toml", data or b"")
        if data is None:
            path.unlink()
            path.mkdir()
        return bed.run("config", folder=path.parent)

    return Case("52", name, "yadtq config", ask, 2, re.escape(text))


def _pipe(bed: Bed) -> Answer:
    path = bed.file("yadtq.toml", b"")
    path.unlink()
    os.mkfifo(path)
    return bed.run("config", folder=path.parent, wait=60)


def _reader_gone(bed: Bed) -> Answer:
    """Write into a pipe whose reader has gone."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*YADTQ, "config"], env=bed.environment, cwd=bed.folder, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(reader)
    os.close(writer)
    _, err = process.communicate(timeout=60)
    return Answer(process.returncode, "", err.decode(), 0.0)


def _bare(bed: Bed) -> Answer:
    """Run without HOME, PATH and locale, and without a terminal."""
    kept = {name: value for name, value in bed.environment.items() if name.startswith(("YADTQ_", "PYTHON"))}
    done = subprocess.run(
        [*YADTQ, "query", f"{NO_ID}é"], env=kept | {"LC_ALL": "C"}, cwd=bed.folder, capture_output=True, check=False
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode(), 0.0)


def _few_files(bed: Bed) -> Answer:
    """Run with 6 files at most."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6)); "
    return bed.python("-c", limited + "from yadtq_core.cli import main; main()", "submit", "add", "[1]")


STALE, WORKER = "CLAIM_STALE_SECONDS", ["worker"]
NAME = "use letters, digits, '_', '.', '@' and '-' (64 at most)"
CASES = [
    broker("no scheme, no port", "localhost", "broker = 'localhost' is not an address; an address begins with one of"),
    broker("no host", "kafka://:9092", "a host is missing; an address looks like kafka://host:9092"),
    broker("another scheme", "http://x:9092", "no installed broker supports http://; known: kafka://"),
    broker("port 0", "kafka://h:0", "port '0' is not a number from 1 to 65535"),
    broker("port 99999", "kafka://h:99999", "port '99999' is not a number from 1 to 65535"),
    broker("a port of letters", "kafka://h:abc", "port 'abc' is not a number from 1 to 65535"),
    broker("a path", "kafka://h:9092/x", "it takes no path, got '/x'"),
    backend("an @ in the password", "redis://:p@ss@host", "***@host': write an @ in a user name or password as %40"),
    backend("a name for the database", "redis://host/abc", "the text after the / must be a database number, got 'abc'"),
    backend("no such socket", "unix:///nosuch.sock", "the socket does not exist: start Redis", code=3),
    backend("port 99999", "redis://h:99999", "redis://h:99999"),
    backend("an unknown option", "redis://h?timeout=1", "timeout"),
    *(
        environment("50", f"a lease of {value}", STALE, value, text, WORKER)
        for value, text in (
            ("0", "use seconds from 1 to 86400"),
            ("0.5", "use seconds from 1 to 86400"),
            ("-1", "not a duration: '-1'; use seconds or 500ms, 10m, 2h, 7d"),
            ("abc", "not a duration: 'abc'"),
            ("1e9", "not a duration: '1e9'"),
            ("1000d", "use seconds from 1 to 86400"),
        )
    ),
    environment(
        "51", "a misspelt variable", "YADTQ_CLAIM_STALE_SECOND", "5", "did you mean YADTQ_CLAIM_STALE_SECONDS?"
    ),
    _toml("a misspelt setting", b"claim_stale_second = 5", "did you mean 'claim_stale_seconds'?")._replace(row="51"),
    _toml("a file that is not UTF-8", b"\xff", "yadtq.toml is not UTF-8 at byte 0"),
    _toml("a folder", None, "yadtq.toml cannot be read: Is a directory"),
    _toml("a syntax error", b"\na = [1,", "yadtq.toml: "),
    _toml("a file of 2 MB", b"#" * 2_000_000, "yadtq.toml is larger than 1024 KiB: not a settings file"),
    _toml("5,000 arrays in each other", b"a = " + b"[" * 5000, "yadtq.toml: arrays or tables nested too deeply"),
    _toml("a value of another kind", b"processes = true", "use a whole number from 1 to 256"),
    _toml("NaN", b"claim_stale_seconds = nan", "use seconds from 1 to 86400"),
    Case("52", "a pipe", "yadtq config", _pipe, 2, "yadtq.toml is not a regular file"),
    *(
        environment("53", f"a worker called {shown}", "WORKER_ID", value, NAME, WORKER)
        for shown, value in (
            ("a b", "a b"),
            ("with a newline", "a\nb"),
            ("with an escape", "\x1b[2J"),
            ("{}", "{}"),
            ("of 1 KB", "a" * 1024),
        )
    ),
    cli("54", "no child", ["worker", "-c", "0"], 2, "--processes takes a whole number from 1 to 256, got '0'"),
    cli("54", "-1 children", ["worker", "-c", "-1"], 2, "--processes takes a whole number from 1 to 256, got '-1'"),
    cli("54", "10,000 children", ["worker", "-c", "10000"], 2, "--processes takes a whole number from 1 to 256"),
    cli("54", "a module that is not there", ["worker", "nosuch"], 2, "no module 'nosuch' in .* or on the Python path"),
    cli("54", "a file for a module", ["worker", "hostile.py"], 2, "name the module, not its file: hostile"),
    Case("C7", "the reader has gone", "yadtq config | true", _reader_gone, 141, "^$"),
    Case("C7", "no HOME, C locale, no terminal", "LC_ALL=C yadtq query …é", _bare, 2, "not a task ID: "),
    Case(
        "C7",
        "6 files at most",
        "ulimit -n 6; yadtq submit add '[1]'",
        _few_files,
        3,
        "Error: too many open files: raise the limit",
    ),
]
