"""The protocol page and the code: the same keys, files and scripts."""

from __future__ import annotations

import re
from pathlib import Path

from yadtq_core.backends.redis.keys import Keys, ShardKeys

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text("utf-8")


def test_the_drawing_names_the_keys_of_a_shard() -> None:
    drawing = PAGE.split("```text")[1].split("```")[0]
    named = re.findall(r"  ([a-z]+)(?::(?:ID|…))?  +[a-z ]+", drawing)
    shard = ShardKeys("NAMESPACE", 0)
    keys = {str(getattr(shard, name)).rpartition("}:")[2].rstrip(":") for name in ShardKeys.__slots__}
    assert set(named) & keys == keys, "a key of a shard is missing from the drawing"
    assert not re.search(r"\bmsg\b", PAGE)


def test_the_page_has_the_hash_tag_of_the_keys() -> None:
    root = Keys("NAMESPACE", 1).shards[0].open.replace(":0}", ":SHARD}").removesuffix("open")
    assert f"`{root}…`" in PAGE


def test_every_file_of_the_page_exists() -> None:
    named = re.findall(r"`((?:yadtq_core|verification|tests)/[^`]*)`", PAGE)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
