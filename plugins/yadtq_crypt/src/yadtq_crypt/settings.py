"""The section `[crypt]`, and the keys from it, from a file and from the environment.

In text (YADTQ_CRYPT_KEYS, a keys_file) keys are one JSON object {id: base64}, or `id=base64` separated by commas or
lines, where `#` begins a comment. In a TOML table of settings they are `keys = {id = "base64"}`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from yadtq_core import InvalidSetting

KEY_BYTES = 32
"""AES-256."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ID_RULE = "letters, digits, '_', '.' and '-' (64 at most), a letter or digit first"
MAX_FILE_BYTES = 1024 * 1024


class CryptSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[crypt]`. Its text never shows a key."""

    key: str = ""
    """ID of the key that encrypts new data; optional if there is one key."""
    keys: dict[str, str] | str = {}
    """Keys by ID, 32 bytes as base64: the current one, and earlier ones that still decrypt."""
    keys_file: str = ""
    """A file with keys, beside or instead of `keys`."""

    def __repr__(self) -> str:
        """Return the settings without the keys."""
        return f"CryptSettings(key={self.key!r}, keys='***', keys_file={self.keys_file!r})"


def keys_of(settings: CryptSettings) -> dict[str, bytes]:
    """Return {ID: key} of all keys in the settings; raises InvalidSetting, whose text never has a key."""
    pairs = _told(settings.keys, "crypt.keys")
    if settings.keys_file:
        pairs += _told(_file(Path(settings.keys_file).expanduser()), f"crypt.keys_file {settings.keys_file}")
    keys: dict[str, bytes] = {}
    for where, name, text in pairs:
        key = _key(where, name, text)
        if keys.setdefault(name, key) != key:
            raise InvalidSetting(f"{where}: key {name!r} is given twice, with different bytes; leave one out")
    return keys


def current_of(settings: CryptSettings, keys: Mapping[str, bytes]) -> str:
    """Return the ID of the key for new data, "" if there are no keys; raises InvalidSetting."""
    if settings.key and settings.key not in keys:
        raise InvalidSetting(f"crypt.key = {settings.key[:80]!r} is not among crypt.keys (have: {listed(keys)})")
    if settings.key or not keys:
        return settings.key
    if len(keys) > 1:
        raise InvalidSetting(f"crypt.key: name the one of crypt.keys that encrypts new data (have: {listed(keys)})")
    return next(iter(keys))


def listed(keys: Mapping[str, object]) -> str:
    """Return the IDs of keys for a message."""
    return ", ".join(map(repr, sorted(keys))) or "none"


def check_id(name: str) -> str:
    """Return a key's ID; raises InvalidSetting."""
    if not _ID.fullmatch(name):
        raise InvalidSetting(f"{name[:80]!r} is no ID of a key: use {ID_RULE}")
    return name


def _told(keys: dict[str, str] | str, where: str) -> list[tuple[str, str, str]]:
    """Return (where, ID, text) of each key."""
    pairs = keys.items() if isinstance(keys, dict) else _parsed(keys, where)
    return [(where, name, text) for name, text in pairs]


def _parsed(text: str, where: str) -> Iterator[tuple[str, str]]:
    if text.lstrip().startswith("{"):
        yield from _from_json(text, where).items()
        return
    for number, line in enumerate(text.splitlines(), 1):
        for part in line.partition("#")[0].split(","):
            name, separator, key = (one.strip().strip('"') for one in part.partition("="))
            if not name:
                continue
            if not separator:
                raise InvalidSetting(f"{where}, line {number}: not id=base64, nor a JSON object {{id: base64}}")
            yield name, key


def _from_json(text: str, where: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidSetting(f"{where}: begins with {{ but is no JSON object {{id: base64}}") from None
    if not all(isinstance(key, str) for key in found.values()):
        raise InvalidSetting(f"{where}: in the JSON object {{id: base64}} every key is text")
    return dict(found)


def _key(where: str, name: str, text: str) -> bytes:
    try:
        check_id(name)
    except InvalidSetting as error:
        raise InvalidSetting(f"{where}: {error}") from None
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSetting(f"{where}: key {name!r} is not base64; make one with `yadtq crypt new-key`") from None
    if len(key) != KEY_BYTES:
        raise InvalidSetting(
            f"{where}: key {name!r} is {len(key)} bytes, AES-256 takes {KEY_BYTES}; make one with `yadtq crypt new-key`"
        )
    return key


def _file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise InvalidSetting(f"crypt.keys_file {path} is larger than {MAX_FILE_BYTES // 1024} KiB: no file of keys")
        return data.decode()
    except OSError as error:
        raise InvalidSetting(f"crypt.keys_file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidSetting(f"crypt.keys_file {path} is not UTF-8 at byte {error.start}") from None
