"""Links between the pages lead to existing files, folders and headings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import LINKED, ROOT, RUN, anchors, headings, links


@pytest.mark.parametrize("page", sorted(set(LINKED)), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not leads_somewhere(page, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    if link.startswith("https://"):
        return True
    path, _, anchor = link.partition("#")
    target = page if not path else (page.parent / path).resolve()
    return target.exists() and (not anchor or anchor in anchors(target))


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    assert [page.name for page in RUN[1:] if page not in linked] == []


def test_headings_of_a_page_differ() -> None:
    for page in RUN:
        found = headings(page)
        assert len(found) == len(set(found)), page
