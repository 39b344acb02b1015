"""The metadata of a commit: the facts that the next owner of a partition needs beside the committed offset.

`1 EPOCH MARK SAFE [POSITION [OPEN]]`. POSITION is there if it is above the committed offset. OPEN names offsets above
SAFE, in rising order: the last one ends what the text tells, and of those below it the others are not done. So an
offset that is below the last one and not named is done. Each is written as its distance from the one before it, the
first from SAFE, in base 32 with the lowest digit first: a variable-length quantity, one character for five bits and a
flag that more follow. A broker may cut the end of the metadata: any beginning of OPEN is true too, and tells less.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import NamedTuple

from yadtq_core.model import Epoch

MOST_TOLD = 4096
"""Offsets named in one commit: no broker keeps more characters, and each takes at least one."""
_FORMAT = "1"
_CHARACTERS = string.digits + string.ascii_letters + "-_"
_VALUES = {character: value for value, character in enumerate(_CHARACTERS)}
_MORE = 32
"""The flag of a digit that another one follows."""


class Told(NamedTuple):
    """The offsets above a commit, as its metadata has them: those below `end` are done, except the ones in `open`."""

    open: frozenset[int] = frozenset()
    end: int = 0

    def done(self, offset: int) -> bool:
        """True when this offset, which must not be below the commit, is done."""
        return offset < self.end and offset not in self.open


class CommitMetadata(NamedTuple):
    """What the metadata of a commit tells. A commit without an epoch has none."""

    epoch: Epoch | None
    safe: int
    position: int = 0
    """The position of the member that committed, or a lower offset."""
    open: str = ""
    """The last part of the text, for `told`."""

    @property
    def told(self) -> Told:
        """The offsets that are done above the commit."""
        named = named_in(self.open, self.safe)
        return Told(frozenset(named), named[-1]) if named else Told()


def parsed(text: str) -> CommitMetadata | None:
    """Return what the metadata of a commit tells; None if it has another format. Further parts are ignored."""
    version, *parts = text.split(" ")
    if version != _FORMAT or len(parts) < 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    position = int(parts[3]) if len(parts) > 3 and parts[3].isdecimal() else 0
    return CommitMetadata(
        Epoch(parts[0], int(parts[1])), int(parts[2]), position, parts[4] if position and len(parts) > 4 else ""
    )


def written(metadata: CommitMetadata) -> str:
    """Return the text of the metadata."""
    epoch, safe, position, named = metadata
    if epoch is None:
        return ""
    parts = [_FORMAT, epoch.id, str(epoch.mark_ms), str(safe)]
    if position:
        parts += [str(position), named] if named else [str(position)]
    return " ".join(parts)


def naming(offsets: Sequence[int], base: int) -> str:
    """Return the text that names these offsets; they rise, and the first is not below `base`."""
    text = []
    for offset in offsets:
        distance, base = offset - base, offset
        while distance >= _MORE:
            text.append(_CHARACTERS[distance % _MORE + _MORE])
            distance //= _MORE
        text.append(_CHARACTERS[distance])
    return "".join(text)


def named_in(text: str, base: int) -> list[int]:
    """Return the offsets that a text names; it is read up to the first number that is cut or damaged."""
    offsets: list[int] = []
    distance = shift = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            break
        distance += (value % _MORE) << shift
        shift += 5
        if value < _MORE:
            base += distance
            offsets.append(base)
            distance = shift = 0
    return offsets
