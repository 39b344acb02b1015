"""Cases: plugins and tasks that cannot be loaded, and tasks that end in ways a task should not."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tests.answers.asking import task
from tests.answers.bed import Answer, Bed, Case
from tests.distributions import write_distribution

TASK = "from yadtq_core import task\n"


def installed(
    row: str,
    name: str,
    words: list[str],
    code: int,
    text: str,
    source: str,
    *,
    tasks: Mapping[str, str] | None = None,
    hooks: Mapping[str, str] | None = None,
    commands: Mapping[str, str] | None = None,
    within: float = 60.0,
) -> Case:
    """Return the case of a distribution acme 1.0 that is installed beside the others."""

    def ask(bed: Bed) -> Answer:
        folder = bed.file("mark", b"").parent
        write_distribution(folder, "acme", "1.0", source, tasks=tasks, hooks=hooks, commands=commands)
        path = os.pathsep.join([str(folder), bed.environment["PYTHONPATH"]])
        return bed.run(*words, env={"PYTHONPATH": path})

    return Case(row, name, f"yadtq {' '.join(words)}", ask, code, text, True, within)


SHOW, WORKER, ADD = ["task", "list", "acme.x"], ["worker"], ["submit", "add", "[1]"]
NOT_LOADED = r"'acme.x' of acme 1.0 \(acme:x\) cannot be loaded: "
X = {"acme.x": "acme:x"}
HOOK = {"acme": "acme"}
CASES = [
    installed(
        "60",
        "a missing module",
        SHOW,
        2,
        "ModuleNotFoundError: No module named 'nosuch'",
        "",
        tasks={"acme.x": "nosuch:x"},
    ),
    installed("60", "a missing name in it", SHOW, 2, f"{NOT_LOADED}AttributeError", "", tasks=X),
    installed("60", "no function", SHOW, 2, f"{NOT_LOADED}it is of type int, not a task", "x = 5", tasks=X),
    installed(
        "60", "a function without @task", SHOW, 2, f"{NOT_LOADED}it is of type function", "def x(): pass", tasks=X
    ),
    installed("60", "a class", SHOW, 2, f"{NOT_LOADED}it is of type type", "class x: pass", tasks=X),
    installed(
        "60",
        "raises at import",
        SHOW,
        2,
        rf"{NOT_LOADED}ValueError: no \(.*acme.py, line 1",
        "raise ValueError('no')",
        tasks=X,
    ),
    installed(
        "60", "sys.exit at import", SHOW, 2, rf"{NOT_LOADED}it called sys.exit\(3\)", "import sys; sys.exit(3)", tasks=X
    ),
    installed(
        "60",
        "prints 1 MB at import",
        [*SHOW, "--json"],
        0,
        '^{"name": "acme.x"',
        TASK + "print('x' * 1000000)\n@task(name='acme.x')\ndef x(): ...\n",
        tasks=X,
    ),
    installed("60", "others are not concerned", ADD, 0, "Task ID: ", "raise ValueError('no')", tasks=X),
    installed(
        "60",
        "a worker refuses a broken plugin",
        WORKER,
        2,
        r"plugin 'acme' of acme 1.0 \(acme\) cannot be loaded: ValueError: no",
        "raise ValueError('no')",
        hooks=HOOK,
    ),
    installed(
        "60",
        "doctor names a broken task",
        ["doctor"],
        1,
        f"problem  task .*{NOT_LOADED}ValueError: no",
        "raise ValueError('no')",
        tasks=X,
    ),
    installed(
        "60",
        "doctor names a broken plugin",
        ["doctor"],
        1,
        "problem  plugin .*acme 1.0 .*ValueError: no .*→ repair or uninstall it",
        "raise ValueError('no')",
        hooks=HOOK,
    ),
    installed(
        "61",
        "a built-in task's name",
        ["submit", "add", "[1]"],
        2,
        r"two tasks are named 'add': .*acme 1.0 \(acme:x\).* and |two tasks are named 'add': .* and .*acme 1.0",
        TASK + "@task\ndef x(): ...\n",
        tasks={"add": "acme:x"},
    ),
    installed(
        "61",
        "a name that cannot be",
        ["task", "list"],
        0,
        "Error: task 'a b' of acme 1.0 .*not a task name",
        TASK + "@task\ndef x(): ...\n",
        tasks={"a b": "acme:x"},
    ),
    installed(
        "61",
        "the name of a built-in command",
        ["worker", "--help"],
        0,
        "Run installed tasks",
        "def x(): ...",
        commands={"worker": "acme:x"},
    ),
    installed(
        "60",
        "a command that raises at import",
        ["images"],
        2,
        r"command 'images' of acme 1.0 \(acme:x\) cannot be loaded: ValueError: no \(.*acme.py, line 1",
        "raise ValueError('no')",
        commands={"images": "acme:x"},
    ),
    installed(
        "60",
        "the CLI goes on without a broken plugin",
        ADD,
        0,
        r"WARNING plugin 'acme' of acme 1.0 \(acme\) cannot be loaded: ValueError: no|Task ID: ",
        "raise ValueError('no')",
        hooks=HOOK,
    ),
    installed(
        "64",
        "another version of the hooks",
        WORKER,
        2,
        r"plugin 'acme' of acme 1.0 \(acme\) cannot be loaded: it needs yadtq API 2, this is 1",
        "YADTQ_API = 2",
        hooks=HOOK,
    ),
    installed(
        "62",
        "a hook with a wrong argument",
        ["doctor"],
        1,
        "problem  plugin .*acme 1.0",
        "from yadtq_core.plugin import hookimpl\n@hookimpl\ndef yadtq_brokers(wrong): return {}\n",
        hooks=HOOK,
    ),
    installed(
        "62",
        "a hook that does not exist",
        ["doctor"],
        1,
        "problem  plugin .*acme 1.0",
        "from yadtq_core.plugin import hookimpl\n@hookimpl\ndef yadtq_nosuch(): return {}\n",
        hooks=HOOK,
    ),
    task("63", "returns a set", "hostile.a_set", "[]", 1, "is of type set, which JSON cannot represent; use a list"),
    task("63", "returns NaN", "hostile.not_a_number", "[]", 1, "is nan: NaN and Infinity are not JSON"),
    task("63", "returns itself in a list", "hostile.circular", "[]", 1, "Status: failed\nError: .*(nested|itself)"),
    task(
        "63", "returns a generator", "hostile.generator", "[]", 1, "is of type generator, which JSON cannot represent"
    ),
    task("63", "an error without a text", "hostile.unprintable", "[]", 1, "Error: (hostile.)?Unprintable"),
    task("63", "an error of 10 MB", "hostile.long_error", "[]", 1, r"Error: ValueError: x{100}"),
    task("63", "an error that steers a terminal", "hostile.odd_error", "[]", 1, r"Error: ValueError: .*\\x1b\[2J\\x00"),
    task("63", "ends its process", "hostile.leave", "[]", 1, "Status: failed\nError: "),
    task("63", "raises SystemExit", "hostile.exit_quietly", "[]", 1, "Status: failed\nError: SystemExit"),
    task("63", "kills its process", "hostile.kill_me", "[]", 1, "Status: failed\nError: .*signal 9"),
    task("65", "spoils its process", "hostile.spoil", "[]", 0, r"Result: \d+"),
    task("65", "the next one runs", "add", "[1, 2]", 0, "Result: 3"),
]
