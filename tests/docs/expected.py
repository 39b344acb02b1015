"""The output that a page shows, as a pattern: a value that differs from run to run may be any value of its kind.

`…` is what the page leaves out: alone on a line any lines, within one any text. A task's ID stands for the same
task throughout a page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ID = re.compile(UUID)
_KINDS = (
    # (what a page may show, what the output may have there)
    (r"local stack (?:runs )?in \S+", r"local stack (?:runs )?in \S+"),
    (r"\(process \d+\)", r"\(process \d+\)"),
    (r"[a-z+]+://[^\s\",]+", r"[a-z+]+://[^\s\",]+"),
    (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [+-]\d{4}",
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [+-]\d{4}",
    ),
    (r"\d\d:\d\d:\d\d", r"\d\d:\d\d:\d\d"),
    (r"\b1\d{9}(?:\.\d+)?\b", r"\d{10}(?:\.\d+)?"),
    (r"\b\d+(?:\.\d+)? (?:of \d+(?:\.\d+)? )?s\b", r"\d+(?:\.\d+)? (?:of \d+(?:\.\d+)? )?s"),
    (r"\b\d+ %", r"\d+ %"),
    (r"namespace main\b", r"namespace \S+"),
    (r"\byadtq\.main\b", r"yadtq\.[^.\s]+"),
    (r'"(?:pid|memory|slots|free|running)": \d+', r'"\w+": \d+'),
    (r'"incarnation": "\w+"', r'"incarnation": "\w+"'),
    (r"\blaptop(?:-\d+)?\b", r"[\w.-]+"),
    (r"\b\d+ children\b", r"\d+ children"),
    ("…", ".*?"),
)
_SAID = r"(?:using the local stack in .*\n)?"
"""Lines that every command may write to stderr. A page need not show them."""
_TOKEN = re.compile("|".join(f"({shown})" for shown, _ in (*_KINDS, (UUID, ""))))


def pattern_of(text: str, ids: Mapping[str, str]) -> re.Pattern[str]:
    """Return the pattern of the shown output. ids: the real IDs that are known for the page's IDs.

    Other IDs are found in the match by `learnt`.
    """
    lines = [r"(?:.*\n)*?" if line.strip() == "…" else _line(line, ids, text) + r"\n" for line in text.splitlines()]
    return re.compile(_SAID + _once("".join(lines)))


def learnt(text: str, match: re.Match[str]) -> dict[str, str]:
    """Return what the page's IDs stand for, by a match of the pattern."""
    named = match.groupdict()
    return {one: named[_name(one)] for one in _ID.findall(text) if named.get(_name(one))}


def with_ids(command: str, ids: Mapping[str, str]) -> str:
    """Return a command with the IDs that the page's stand for."""
    return _ID.sub(lambda found: ids.get(found[0], found[0]), command)


def _line(line: str, ids: Mapping[str, str], text: str) -> str:
    parts, at = [], 0
    for token in _TOKEN.finditer(line):
        parts.append(re.escape(line[at : token.start()]))
        parts.append(_token(token, ids))
        at = token.end()
    return "".join([*parts, re.escape(line[at:])])


def _token(token: re.Match[str], ids: Mapping[str, str]) -> str:
    kind = token.lastindex
    assert kind is not None
    if kind <= len(_KINDS):
        return _KINDS[kind - 1][1]
    return re.escape(ids[token[0]]) if token[0] in ids else f"(?P<{_name(token[0])}>{UUID})"


def _once(pattern: str) -> str:
    """A name may occur once in a pattern; after that it means the same text again."""
    seen: set[str] = set()

    def again(found: re.Match[str]) -> str:
        if found[1] in seen:
            return f"(?P={found[1]})"
        seen.add(found[1])
        return found[0]

    return re.sub(rf"\(\?P<(\w+)>{re.escape(UUID)}\)", again, pattern)


def _name(task_id: str) -> str:
    return "id_" + task_id.replace("-", "")
