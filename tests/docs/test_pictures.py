"""Each text of the pictures fits its box in any font, and the picture of the demo says what the demo says."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from tests.docs.messages import texts
from tests.docs.pages import ROOT

SVG = "{http://www.w3.org/2000/svg}"
NAMES = re.compile(r"\b(?:ann|bob|cid)\b|[\d.]+")
ROOM = 5
"""Pixels between a text and the side of its box."""


class Box(NamedTuple):
    """A rectangle, or the line of a text."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, x: float, y: float) -> bool:
        """True when the point is inside."""
        return self.left < x < self.right and self.top < y < self.bottom


def picture(name: str) -> ElementTree.Element:
    return ElementTree.parse(ROOT / "docs" / name).getroot()


def number(element: ElementTree.Element, name: str) -> float:
    return float(element.get(name, "0"))


def boxes(root: ElementTree.Element) -> list[Box]:
    """Return the rectangles, the smallest first."""
    found = []
    for one in root.iter(f"{SVG}rect"):
        x, y, width, height = (number(one, name) for name in ("x", "y", "width", "height"))
        found.append(Box(x, y, x + width, y + height))
    return sorted(found, key=lambda box: box.right - box.left)


def lines(root: ElementTree.Element) -> list[tuple[str, Box]]:
    """Return each text with the line that it takes."""
    found = []
    for group in root.iter(f"{SVG}g"):
        for one in group.iter(f"{SVG}text"):
            x, y, length = (number(one, name) for name in ("x", "y", "textLength"))
            left = x - length / 2 if group.get("text-anchor") == "middle" else x
            found.append((one.text or "", Box(left, y - 10, left + length, y)))
    return found


@pytest.mark.parametrize("name", ["architecture.svg", "demo.svg"])
def test_texts_keep_their_length_in_any_font(name: str) -> None:
    texts = list(picture(name).iter(f"{SVG}text"))
    assert texts
    assert [one.text for one in texts if number(one, "textLength") <= 0] == []
    assert {one.get("lengthAdjust") for one in texts} == {"spacingAndGlyphs"}


@pytest.mark.parametrize("name", ["architecture.svg", "demo.svg"])
def test_texts_are_inside_their_boxes(name: str) -> None:
    root = picture(name)
    for text, line in lines(root):
        box = next(box for box in boxes(root) if box.holds((line.left + line.right) / 2, line.bottom))
        assert box.left + ROOM <= line.left, text
        assert line.right + ROOM <= box.right, text


def test_the_columns_of_the_demo_do_not_touch() -> None:
    rows: dict[float, list[Box]] = {}
    for _, line in lines(picture("demo.svg")):
        rows.setdefault(line.bottom, []).append(line)
    for row in rows.values():
        row.sort()
        assert all(left.right + ROOM <= right.left for left, right in pairwise(row))


def test_the_demo_says_what_its_picture_shows() -> None:
    code = "\n".join(texts())
    said = [part.strip(" ():;,") for text, _ in lines(picture("demo.svg")) for part in NAMES.split(text)]
    sentences = [part for part in said if len(part) >= 12]
    assert len(sentences) >= 10
    assert [part for part in sentences if part not in code] == []
