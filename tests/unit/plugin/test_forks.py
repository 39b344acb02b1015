"""A process that was forked while tasks were imported: it knows them too, and waits for no lock of a missing thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TASKS = "from yadtq_core import task\n@task\ndef price() -> int: return 3\n"
OPEN = "from yadtq_core.plugin.registry import Registry\nregistry = Registry(['shop'])\n"
REPORT = """
    signal.alarm(30)
    print("child", registry.known("shop.price"), flush=True)
    os._exit(0)
signal.alarm(60)
print("parent", os.waitpid(pid, 0)[1], registry.known("shop.price"))
"""


def run(folder: Path, module: str, program: str) -> list[str]:
    """Run a program beside a module `shop`; return its lines, sorted."""
    (folder / "shop.py").write_text(module)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def test_a_fork_during_an_import_in_another_thread(tmp_path: Path) -> None:
    program = f"""import os, pathlib, signal, threading, time
{OPEN}
importing = threading.Thread(target=registry.names)
importing.start()
while not pathlib.Path("begun").exists():
    time.sleep(0.01)
if not (pid := os.fork()):{REPORT}"""
    module = "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(1)\n" + TASKS
    assert run(tmp_path, module, program) == ["child True", "parent 0 True"]


def test_a_fork_by_the_module_that_is_imported(tmp_path: Path) -> None:
    program = f"""import os, signal
{OPEN}
known = registry.known("shop.price")
import shop
if not (pid := shop.pid):{REPORT}"""
    assert run(tmp_path, "import os\npid = os.fork()\n" + TASKS, program) == ["child True", "parent 0 True"]


def test_a_fork_that_an_import_waits_for(tmp_path: Path) -> None:
    """The module waits for a thread that forks: the fork must not wait for the import without an end."""
    program = f"""import os, signal
from yadtq_core.plugin import import_lock
import_lock.FORK_SECONDS = 0.5
{OPEN}
registry.names()
import shop
pid = shop.pids[0]
print("child True", os.waitpid(pid, 0)[1], registry.known("shop.price"))"""
    module = """import os, signal, threading
pids = []
def fork():
    pids.append(os.fork())
    if not pids[0]:
        signal.alarm(30)
        from yadtq_core.plugin.registry import Registry
        os._exit(0 if Registry(["wave"]).known("wave.hello") else 1)
forking = threading.Thread(target=fork)
forking.start()
forking.join()
"""
    (tmp_path / "wave.py").write_text(TASKS.replace("price", "hello"))
    assert run(tmp_path, module + TASKS, program) == ["child True 0 True"]
