"""The protocol under deterministic test: 100 histories hold every rule, and what is built wrong breaks one.

`make simulate` runs 2,000 histories, `python -m verification.simulation --mutants` all mutants.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.services import not_to_be_had
from verification.simulation.mutants import ALL
from verification.simulation.mutation import Mutant, in_force, script_of
from yadtq_core.errors import LocalStackError
from yadtq_local.valkey import server_binary

QUICK = {
    "finish: no fence": 25,
    "claim: the lease is not looked at": 5,
    "claim: the same fence again": 5,
    "numbers by tostring": 5,
    "create: a known one is made anew": 10,
    "commit past what is not finished": 5,
    "settled before it is written": 25,
    "local marks are kept over a rewind": 25,
    "one nonce for all": 5,
}
"""Mutants that are found fast, and within how many seeds."""


@pytest.fixture(scope="module", autouse=True)
def _valkey() -> None:
    """The simulation starts Valkeys of its own: they are emptied before every history."""
    try:
        server_binary()
    except LocalStackError as error:
        raise not_to_be_had(str(error)) from None


def simulated(*arguments: str) -> str:
    """Return what the command says; it must find all well."""
    command = [sys.executable, "-m", "verification.simulation", *arguments]
    told = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, f"{told.stdout[-20_000:]}\n{told.stderr}"
    return told.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_histories_hold_every_rule() -> None:
    """Crashes, pauses, rebalances, lost replies, copies, lost stores: I1 to I10, I12 to I14 hold."""
    assert "100 seeds from 0: clean" in simulated("--seeds", "100")


def test_a_seed_is_one_history() -> None:
    """The same seed gives the same history to the last line, in another process too."""
    first, second = (re.search(r"digest (\w+)", simulated("--seeds", "5")) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[1] == second[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", QUICK)
def test_a_mistake_is_found(name: str) -> None:
    """What checks the histories would see it if the code did not hold."""
    told = simulated("--mutants", "--only", name, "--within", str(QUICK[name]))
    assert f"caught  {name}:" in told


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_every_mutant_still_has_its_place(mutant: Mutant) -> None:
    """The code that a mutant changes stands where it says; else give it the code that does this now."""
    script_of(mutant)
    with in_force(mutant):
        pass
