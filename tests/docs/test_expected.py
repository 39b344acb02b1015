"""Shown and printed output: values that may differ do, and a difference elsewhere is found."""

from __future__ import annotations

import pytest

from tests.docs.expected import learnt, pattern_of, with_ids

ID, OTHER = "2f0c5d4e-8c1a-4b7e-9f53-0d1c1f8b7a60", "9d3d1f0a-54f5-4c5e-8a4b-6f1f7a1c2b3d"


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("Result: 6\n", "Result: 6\n"),
        (f"Task ID: {ID}\n", f"Task ID: {OTHER}\n"),
        ("last_seen 1755103784 x\n", "last_seen 1795533157 x\n"),
        ("Duration: 0.011 s\n", "Duration: 12.3 s\n"),
        (
            "15:12:37 INFO broker kafka://localhost:9092, namespace main\n",
            "09:00:01 INFO broker unix:///a, namespace t1\n",
        ),
        ("a\n…\nz\n", "a\nb\nc\nz\n"),
        ("a … z\n", "a b c z\n"),
    ],
)
def test_values_that_may_differ_match(shown: str, printed: str) -> None:
    assert pattern_of(shown, {}).fullmatch(printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("Result: 6\n", "Result: 7\n"),
        ("Result: 6\n", "Result: 6\nmore\n"),
        ("Result: 6\nmore\n", "Result: 6\n"),
        (f"{ID} {ID}\n", f"{ID} {OTHER}\n"),
        ("a … z\n", "a b\nc z\n"),
        ("a.b\n", "axb\n"),
    ],
)
def test_other_differences_are_found(shown: str, printed: str) -> None:
    assert not pattern_of(shown, {}).fullmatch(printed)


def test_an_id_is_one_task_on_the_whole_page() -> None:
    found = pattern_of(f"Task ID: {ID}\n", {}).fullmatch(f"Task ID: {OTHER}\n")
    assert found
    ids = learnt(f"Task ID: {ID}\n", found)
    assert with_ids(f"yadtq query {ID}", ids) == f"yadtq query {OTHER}"
    assert pattern_of(f"Task ID: {ID}\n", ids).fullmatch(f"Task ID: {OTHER}\n")
    assert not pattern_of(f"Task ID: {ID}\n", ids).fullmatch(f"Task ID: {ID}\n")
