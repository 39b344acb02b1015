"""The registry: the sources of tasks, their names, and the errors for a task that cannot be loaded."""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributions import Distributions
from yadtq_core import installed as entry_point_rules
from yadtq_core.errors import InvalidTask, TaskLoadError, UnknownTask
from yadtq_core.plugin.registry import Registry
from yadtq_core.tasks.task import Task, task

SHOP = """
from yadtq_core.tasks.task import task

@task
def resize(path: str, width: int = 800) -> str:
    "Resize an image."
    return f"{path}@{width}"

@task(name="shop.mail", retries=5)
async def send(address: "str") -> None: ...
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    with Distributions(tmp_path / "site", monkeypatch) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with a shop.py in it; its modules are forgotten at the end."""
    place = tmp_path / "work"
    place.mkdir()
    (place / "shop.py").write_text(SHOP)
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    before = set(sys.modules)
    yield place
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_in_the_working_directory_is_enough(folder: Path) -> None:
    registry = Registry(["shop"])
    assert {"shop.resize", "shop.mail"} <= set(registry.names())
    assert registry.get("shop.resize")("a.png") == "a.png@800"
    assert registry.known("shop.mail")
    assert not registry.known("shop.send")
    assert registry.name_of(registry.get("shop.mail")) == "shop.mail"


def test_nothing_is_imported_before_the_first_question(folder: Path) -> None:
    Registry(["shop"])
    assert "shop" not in sys.modules


def test_a_package_s_module_is_named_with_dots(folder: Path) -> None:
    (folder / "tasks").mkdir()
    (folder / "tasks" / "mail.py").write_text(SHOP.replace('name="shop.mail", ', ""))
    assert {"tasks.mail.resize", "tasks.mail.send"} <= set(Registry(["tasks.mail"]).names())


def test_a_task_that_a_module_imports_from_another_keeps_its_name(folder: Path) -> None:
    (folder / "more.py").write_text("from shop import resize, send\n")
    assert {"shop.resize", "shop.mail"} <= set(Registry(["more", "shop"]).names())


def test_an_entry_point_names_its_task_and_imports_nothing(installed: Distributions) -> None:
    installed.add("acme-images", "1.2", SHOP, tasks={"acme.resize": "acme_images:resize"})
    registry = Registry()
    assert "acme.resize" in registry.names()
    assert registry.known("acme.resize")
    assert "acme_images" not in sys.modules
    found = registry.get("acme.resize")
    assert found("a.png") == "a.png@800"
    assert registry.name_of(found) == "acme.resize"


def test_a_re_exported_task_has_the_name_of_its_entry_point(installed: Distributions) -> None:
    installed.add("acme-core", "1.2", SHOP)
    installed.add("acme-images", "1.2", "from acme_core import resize\n", tasks={"acme.resize": "acme_images:resize"})
    registry = Registry()
    assert registry.name_of(registry.get("acme.resize")) == "acme.resize"


def test_two_distributions_with_one_name_are_both_named(installed: Distributions) -> None:
    installed.add("acme-images", "1.2", SHOP, tasks={"acme.resize": "acme_images:resize"})
    installed.add("other-images", "0.3", SHOP, tasks={"acme.resize": "other_images:resize"})
    text = (
        r"two tasks are named 'acme.resize': acme-images 1.2 \(acme_images:resize\) and "
        r"other-images 0.3 \(other_images:resize\); rename or uninstall one"
    )
    with pytest.raises(TaskLoadError, match=text):
        Registry().get("acme.resize")
    with pytest.raises(TaskLoadError, match=text):
        Registry().names()
    loaded, errors = Registry().load_all()
    assert "acme.resize" not in loaded
    assert [re.match(text, str(error)) is not None for error in errors] == [True]
    rows = [row for row in Registry().describe() if row.name == "acme.resize"]
    assert [row.origin for row in rows] == ["acme-images 1.2", "other-images 0.3"]
    assert all(row.error is not None and "two tasks are named" in row.error for row in rows)


def test_a_module_s_task_does_not_take_the_name_of_an_entry_point(installed: Distributions, folder: Path) -> None:
    installed.add("acme-images", "1.2", SHOP, tasks={"shop.mail": "acme_images:send"})
    with pytest.raises(TaskLoadError, match=r"named 'shop.mail': shop:send and acme-images 1.2"):
        Registry(["shop"]).names()


TWICE = """
from yadtq_core import task

@task(name="shop.mail")
def send(address): ...

@task(name="shop.mail")
def post(address): ...
"""


def test_two_tasks_of_one_module_with_one_name_are_both_named(folder: Path) -> None:
    (folder / "twice.py").write_text(TWICE)
    text = "two tasks are named 'shop.mail': twice:send and twice:post; rename"
    with pytest.raises(TaskLoadError, match=text):
        Registry(["twice"]).names()
    loaded, errors = Registry(["twice"]).load_all()
    assert "shop.mail" not in loaded
    assert [re.match(text, str(error)) is not None for error in errors] == [True]
    (row,) = [row for row in Registry(["twice"]).describe() if row.error]
    assert (row.name, re.match(text, row.error or "") is not None) == ("twice", True)


def test_two_tasks_that_a_function_has_made_under_one_name_are_an_error(folder: Path) -> None:
    (folder / "made.py").write_text(
        "from yadtq_core import task\ndef make(n):\n    @task(name='shop.made')\n    def f(): return n\n    return f\n"
        "one, two = make(1), make(2)\n"
    )
    with pytest.raises(TaskLoadError, match=r"two tasks are named 'shop.made': made:make.<locals>.f and"):
        Registry(["made"]).names()


def test_a_task_defined_over_another_one_makes_its_module_unusable(folder: Path) -> None:
    (folder / "again.py").write_text(TWICE.replace('(name="shop.mail")', "").replace("post", "send"))
    text = "module 'again' cannot be imported: two tasks are defined as again:send, in line 4 and in line 7"
    with pytest.raises(TaskLoadError, match=text):
        Registry(["again"]).names()


def test_a_reloaded_module_has_its_new_tasks(folder: Path) -> None:
    (folder / "more.py").write_text("from shop import resize, send\n")
    (folder / "shop.py").write_text(SHOP + "scale = resize\n")
    assert Registry(["shop", "more"]).get("shop.resize")("a.png") == "a.png@800"
    (folder / "shop.py").write_text("# one line more, and without `scale`, which stays\n" + SHOP.replace("800", "90"))
    module = importlib.reload(sys.modules["shop"])
    assert vars(module)["scale"] is not vars(module)["resize"]
    for imports in (["shop"], ["shop", "more"], ["more", "shop"]):
        assert Registry(imports).get("shop.resize")("a.png") == "a.png@90"


def test_one_task_under_two_attributes_is_one_task(folder: Path) -> None:
    (folder / "alias.py").write_text(SHOP + "scale = resize\n")
    assert "alias.resize" in Registry(["alias"]).names()


@pytest.mark.slow
def test_a_program_may_import_its_own_module_once_more(folder: Path) -> None:
    (folder / "twice.py").write_text(
        SHOP + "if __name__ == '__main__':\n    from yadtq_core.plugin.registry import Registry\n"
        "    print(Registry(['twice']).get('shop.mail').place)\n"
    )
    done = subprocess.run([sys.executable, "twice.py"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("twice:send\n", "")


def test_an_entry_point_and_a_decorator_that_differ_are_an_error(installed: Distributions) -> None:
    installed.add("acme-images", "1.2", SHOP, tasks={"acme.mail": "acme_images:send"})
    text = "acme_images:send declares the name 'shop.mail', but its entry point in acme-images 1.2 is named"
    with pytest.raises(TaskLoadError, match=text):
        Registry().get("acme.mail")


def test_an_unknown_task_is_answered_with_similar_names(folder: Path) -> None:
    with pytest.raises(UnknownTask, match=r"unknown task 'shop.resise'; did you mean 'shop.resize'\? known: .*"):
        Registry(["shop"]).get("shop.resise")


@pytest.mark.parametrize("name", ["../../x", "", "a b", "a\n", "a\x00", "ＡＤＤ", "\u202eadd", "x" * 10_000])  # noqa: RUF001
def test_an_invalid_name_is_never_looked_up(name: str) -> None:
    with pytest.raises(InvalidTask, match="not a task name"):
        Registry().get(name)


@pytest.mark.parametrize("name", ["os.system", "__import__", "subprocess.run"])
def test_names_of_code_are_only_looked_up(name: str) -> None:
    with pytest.raises(UnknownTask):
        Registry().get(name)


@pytest.mark.parametrize(
    ("code", "value", "text"),
    [
        ("", "acme_missing:x", "ModuleNotFoundError: No module named 'acme_missing'"),
        ("", "acme_bad:nothing", "AttributeError: module 'acme_bad' has no attribute 'nothing'"),
        ("value = 5", "acme_bad:value", "it is of type int, not a task; decorate the function with @task"),
        (
            "def f(): ...",
            "acme_bad:f",
            "it is of type function, not a task; decorate the function with @task",
        ),
        ("class C: ...", "acme_bad:C", "it is of type type, not a task; decorate the function with @task"),
        ("1 / 0", "acme_bad:x", r"ZeroDivisionError: division by zero \(.*acme_bad.py, line 1\)"),
        ("def (", "acme_bad:x", r"SyntaxError: invalid syntax \(.*acme_bad.py, line 1\)"),
        ("import sys; sys.exit(3)", "acme_bad:x", r"it called sys.exit\(3\) \(.*acme_bad.py, line 1\)"),
        ("import nowhere", "acme_bad:x", "ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named_with_all_that_helps(
    installed: Distributions, code: str, value: str, text: str
) -> None:
    installed.add("acme-bad", "0.1", code, tasks={"acme.x": value})
    registry = Registry()
    assert "acme.x" in registry.names()
    with pytest.raises(TaskLoadError, match=rf"task 'acme.x' of acme-bad 0.1 \({value}\) cannot be loaded: {text}"):
        registry.get("acme.x")
    (row,) = [row for row in registry.describe() if row.name == "acme.x"]
    assert row.error is not None
    assert "cannot be loaded" in row.error


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("nowhere", "no module 'nowhere' in .*work or on the Python path"),
        ("shop.py", "name the module, not its file: shop"),
        ("./shop.py", "not a module name: './shop.py'; name the module, not its file: shop"),
        ("tasks/mail.py", "name the module, not its file: tasks.mail"),
        ("", "not a module name"),
        (
            "broken",
            r"module 'broken' cannot be imported: NameError: name 'x' is not defined \(.*broken.py, line 1\)",
        ),
        ("lacking", r"module 'lacking' cannot be imported: ModuleNotFoundError: No module named 'numpyy'"),
    ],
)
def test_a_module_that_cannot_be_imported(folder: Path, module: str, text: str) -> None:
    (folder / "broken.py").write_text("x")
    (folder / "lacking.py").write_text("import numpyy")
    with pytest.raises(TaskLoadError, match=text):
        Registry([module]).names()
    (row,) = [row for row in Registry([module, "shop"]).describe() if row.error]
    assert row.name == module


@pytest.mark.slow
def test_a_task_of_the_program_itself_is_refused_with_the_way_out(folder: Path) -> None:
    code = "from yadtq_core.plugin.registry import Registry\n" + SHOP + "\nRegistry().name_of(resize)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "put it into a module, say shop.py, and start `yadtq worker shop`" in done.stderr


def test_a_task_made_inside_a_function_is_refused() -> None:
    @task
    def inner() -> None: ...

    with pytest.raises(InvalidTask, match="defined inside a function"):
        Registry().name_of(inner)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(
        InvalidTask, match=r"registry:<lambda>' is a lambda, which has no name: define a function at the"
    ):
        Registry().name_of(double)
    assert Registry().name_of(Task(lambda: 2, name="shop.double")) == "shop.double"


double = task(lambda: 2)


def test_the_description_of_a_task(folder: Path) -> None:
    rows = {row.name: row for row in Registry(["shop"]).describe()}
    resize, mail = rows["shop.resize"], rows["shop.mail"]
    assert (resize.signature, resize.doc, resize.origin) == (
        "(path: str, width: int = 800) -> str",
        "Resize an image.",
        "module shop",
    )
    assert (mail.signature, mail.retries, mail.is_async) == ("(address: str) -> None", 5, True)


def test_a_task_by_its_place_alone_is_not_imported(installed: Distributions) -> None:
    installed.add("acme-images", "1.2", SHOP, tasks={"acme.resize": "acme_images:resize"})

    def resize() -> None: ...

    resize.__module__, resize.__qualname__ = "acme_images", "resize"
    assert Registry().name_of(Task(resize)) == "acme.resize"
    assert "acme_images" not in sys.modules


def test_an_import_that_hangs_is_ended_and_named(installed: Distributions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_point_rules, "IMPORT_SECONDS", 0.2)
    installed.add("acme-slow", "0.1", "import time\ntime.sleep(300)", tasks={"acme.x": "acme_slow:x"})
    text = r"task 'acme.x' of acme-slow 0.1 .*: its import has not ended after 0.2 s \(.*acme_slow.py, line 2\)"
    with pytest.raises(TaskLoadError, match=text):
        Registry().get("acme.x")
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.slow
def test_an_import_that_swallows_errors_is_ended_too(installed: Distributions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_point_rules, "IMPORT_SECONDS", 0.2)
    code = "import time\ntry: time.sleep(300)\nexcept BaseException: pass\ntime.sleep(300)"
    installed.add("acme-slow", "0.1", code, tasks={"acme.x": "acme_slow:x"})
    with pytest.raises(TaskLoadError, match=r"has not ended after 0.2 s \(.*acme_slow.py, line 4\)"):
        Registry().get("acme.x")


def test_a_program_that_uses_sigalrm_keeps_it(installed: Distributions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_point_rules, "IMPORT_SECONDS", 0.01)
    installed.add("acme-images", "0.1", "import time\ntime.sleep(0.1)\n" + SHOP, tasks={"acme.x": "acme_images:resize"})
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        assert Registry().get("acme.x")("a.png") == "a.png@800"
    finally:
        signal.signal(signal.SIGALRM, before)


MORE = """
@task
def other(): ...
async def slowly(): ...
def __getattr__(name): raise ValueError('x' * 10_000_000)
"""


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("acme.x", "not a place", "'not a place' is not a place of code: an entry point names module:object"),
        ("a b", "acme_images:other", "not a task name: 'a b'"),
        ("../x", "acme_images:other", "not a task name: '../x'"),
        ("acme.slowly", "acme_images:slowly", "it is of type function, not a task"),
        ("acme.big", "acme_images:Big", r"ValueError: x{500} …"),
    ],
)
def test_a_bad_entry_point_leaves_the_others_as_they_are(
    installed: Distributions, name: str, value: str, text: str
) -> None:
    code = SHOP + MORE
    installed.add("acme-images", "1.2", code, tasks={name: value, "acme.resize": "acme_images:resize"})
    registry = Registry()
    _, (error,) = registry.load_all()
    assert re.match(rf"task {name!r} of acme-images 1.2 \({value}\) cannot be loaded: {text}", str(error))
    assert str(error).endswith(f"(YADTQ_BLOCK_PLUGINS={name} leaves it out)")
    assert registry.name_of(registry.get("acme.resize")) == "acme.resize"
    assert [row.name for row in registry.describe() if row.error] == [name]


def test_an_error_whose_text_raises_is_still_reported(installed: Distributions) -> None:
    code = "class Bad(Exception):\n    def __str__(self): raise RuntimeError\nraise Bad"
    installed.add("acme-bad", "0.1", code, tasks={"acme.x": "acme_bad:x"})
    with pytest.raises(TaskLoadError, match=r"Bad: \(its text cannot be read\) \(.*acme_bad.py, line 3\)"):
        Registry().get("acme.x")


def test_damaged_metadata_hides_no_other_plugin(installed: Distributions, tmp_path: Path) -> None:
    installed.add("acme-images", "1.2", SHOP, tasks={"acme.resize": "acme_images:resize"})
    half = tmp_path / "site" / "half_gone-1.0.dist-info"
    half.mkdir()
    (half / "entry_points.txt").write_text("[yadtq.tasks]\nhalf.x = half_gone:x\n")
    registry = Registry()
    assert registry.get("acme.resize")("a.png") == "a.png@800"
    (row,) = [row for row in registry.describe() if row.name == "half.x"]
    assert row.error is not None
    assert row.error.startswith("task 'half.x' of an unnamed distribution (half_gone:x) cannot be loaded: Module")


def test_a_name_of_the_built_in_ones_is_refused_and_can_be_blocked(
    installed: Distributions, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.add("acme-images", "1.2", SHOP, tasks={"add": "acme_images:resize"})
    with pytest.raises(TaskLoadError, match=r"acme-images 1.2 .* and yadtq-builtin-tasks .*YADTQ_BLOCK_PLUGINS"):
        Registry().get("add")
    monkeypatch.setenv("YADTQ_BLOCK_PLUGINS", "Acme_Images")
    entry_point_rules.entry_points.cache_clear()
    assert Registry().get("add")(1, 2) == 3


def test_a_thousand_names_of_one_distribution(installed: Distributions) -> None:
    installed.add("acme-images", "1.2", SHOP, tasks={f"acme.t{n}": "acme_images:resize" for n in range(1_000)})
    registry = Registry()
    assert len(registry.names()) >= 1_000
    with pytest.raises(UnknownTask) as refused:
        registry.get("nosuch")
    assert len(str(refused.value)) < 1000


def test_a_name_without_a_dot_is_loaded_with_a_warning(installed: Distributions) -> None:
    installed.add("acme-images", "1.2", SHOP, tasks={"resize": "acme_images:resize", "acme.x": "acme_images:resize"})
    registry = Registry()
    assert registry.get("resize")("a.png") == "a.png@800"
    assert registry.name_warnings() == [
        "task 'resize' of acme-images 1.2 has no dot in its name; use a prefix, as in acme.resize"
    ]
