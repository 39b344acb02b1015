"""The protocol under deterministic test: 100 histories keep every rule, and a deliberate error breaks one.

`make simulate` runs 2,000 histories, `python -m verification.simulation --mutants` all mutants.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.services import not_to_be_had
from verification.simulation.crew import Crew, crew
from verification.simulation.mutants import ALL
from verification.simulation.mutation import Mutant, in_force, script_of
from yadtq_core.errors import LocalStackError
from yadtq_core.settings import usable_cores
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
"""Mutants that are caught fast, and the seeds that each may take."""


@pytest.fixture(scope="module")
def team() -> Iterator[Crew]:
    """Processes that run histories, each with a Valkey; the order of sets in them is that of `make simulate`."""
    try:
        server_binary()
    except LocalStackError as error:
        raise not_to_be_had(str(error)) from None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "0")
        with crew(usable_cores()) as made:
            yield made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_histories_hold_every_rule(team: Crew) -> None:
    """Crashes, pauses, rebalances, lost replies, copies, lost stores: I1 to I10, I12 to I14 hold."""
    for told in team.seeds(range(100), show=False):
        assert not told.problem, f"seed {told.seed} ({told.theme}): {told.problem}\n{told.text[-20_000:]}"


@pytest.mark.slow
def test_a_seed_is_one_history(team: Crew) -> None:
    """The same seed gives the same history to the last line, in another process too."""
    first = [told.digest for told in team.seeds(range(5), show=False)]
    with crew(1) as another:
        assert [told.digest for told in another.seeds(range(5), show=False)] == first


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_quick_mutant_is_caught(team: Crew) -> None:
    """If a script or a rule were wrong, the rules that are checked would show it."""
    chosen = [mutant for mutant in ALL if mutant.name in QUICK]
    assert len(chosen) == len(QUICK)
    for caught in team.mutants(chosen, max(QUICK.values())):
        assert caught.problem, f"{caught.mutant.name}: not caught within {caught.seeds} seeds"
        assert caught.seeds <= QUICK[caught.mutant.name], caught.mutant.name


@pytest.mark.slow
def test_the_command_sums_up_its_histories() -> None:
    command = [sys.executable, "-m", "verification.simulation", "--seeds", "3", "--from", "7", "--jobs", "1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"3 seeds from 7: clean; [\d.]+ seeds/s; digest [0-9a-f]{16}\n", told.stdout)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_every_mutant_still_has_its_place(mutant: Mutant) -> None:
    """The code that a mutant replaces is still there. If not, give it the code that does this work now."""
    script_of(mutant)
    with in_force(mutant):
        pass
