"""The messages in docs/troubleshooting.md still occur in the code: headings, and the first column of its tables."""

from __future__ import annotations

import re

import pytest

from tests.docs.messages import occurs
from tests.docs.pages import ROOT, headings, prose

PAGE = ROOT / "docs" / "troubleshooting.md"


def messages() -> list[str]:
    """Return the messages of the page: headings and first cells that are code."""
    cells = [found[2] for found in re.finditer(r"^\| (`{1,2}) ?(.+?) ?\1 \|", prose(PAGE), re.MULTILINE)]
    return [*(heading.strip("`").strip() for heading in headings(PAGE) if heading.startswith("`")), *cells]


@pytest.mark.parametrize("message", messages())
def test_a_message_occurs_in_the_code(message: str) -> None:
    assert occurs(message)


def test_there_are_messages() -> None:
    assert len(messages()) > 50
