"""Asks which messages that are read again have ended, after a rewind or a takeover: these need no claim."""

from __future__ import annotations

import time
from dataclasses import dataclass

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.worker.rules.keeper import Keeper
from yadtq_core.worker.shared import GuardedIntake, Outages


@dataclass(eq=False)
class Repeats:
    """For the intake thread alone. It needs no free slot: most of what is read again has ended."""

    backend: Backend
    intake: GuardedIntake
    keeper: Keeper
    outages: Outages

    def ask(self) -> bool:
        """Ask about the next group, and settle what has ended; return False if there is none or it was not answered."""
        with self.intake as intake:
            batch = intake.read_again.first()
        if not batch or not self.keeper.may_claim(time.monotonic()):
            return False
        try:
            ended = self.backend.ended([delivery.message.id for delivery in batch])
        except YadtqError as error:
            self.outages.failed("backend", error)
            return False
        with self.intake as intake:
            intake.asked(ended)
        return True
