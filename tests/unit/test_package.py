"""`import yadtq_core`: what it offers, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import yadtq_core


@pytest.mark.slow
def test_importing_loads_neither_kafka_nor_redis_nor_typer() -> None:
    code = "import sys, yadtq_core; print(sorted({'kafka', 'redis', 'typer', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_public_names_exist_and_are_sorted() -> None:
    assert yadtq_core.__all__ == sorted(yadtq_core.__all__)
    assert all(hasattr(yadtq_core, name) for name in yadtq_core.__all__)


def test_every_error_is_public() -> None:
    errors = {
        name
        for name, value in vars(yadtq_core.errors).items()
        if isinstance(value, type) and issubclass(value, yadtq_core.YadtqError)
    }
    assert errors <= set(yadtq_core.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    assert yadtq_core.__version__ == version("yadtq")


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(yadtq_core.__file__).parent / "py.typed").exists()
