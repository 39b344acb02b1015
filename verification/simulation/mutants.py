"""Every mutant, and the hunt for it: seed after seed until a rule breaks."""

from __future__ import annotations

from typing import NamedTuple

from verification.simulation.mutants_of_rules import RULES
from verification.simulation.mutants_of_scripts import SCRIPTS
from verification.simulation.mutation import Mutant, script_of
from verification.simulation.run import run
from verification.simulation.server import Server

ALL: tuple[Mutant, ...] = (*SCRIPTS, *RULES)
WITHIN = 300
"""Seeds within which a mutant that does harm is caught."""


class Catch(NamedTuple):
    """How the hunt ended: after how many seeds, and by which problem; empty: not caught."""

    mutant: Mutant
    seeds: int
    problem: str


def hunt(server: Server, mutant: Mutant, within: int = WITHIN) -> Catch:
    """Run seeds with a mutant until one breaks a rule."""
    server.use(script_of(mutant))
    try:
        for seed in range(within):
            result = run(seed, server, mutant)
            if result.problem:
                return Catch(mutant, seed + 1, result.problem)
        return Catch(mutant, within, "")
    finally:
        server.use({})
