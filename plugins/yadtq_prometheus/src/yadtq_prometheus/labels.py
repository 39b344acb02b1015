"""Limits the values of a label, because Prometheus stores a time series for each of them."""

from __future__ import annotations

OTHER = "other"


class Names:
    """The values of one label: the first `most` names are kept, all later ones are `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """Return the label's value for a name."""
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name
