"""Keys in each of their forms, and the errors for invalid ones; no message has a key."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from yadtq_core import InvalidSetting
from yadtq_core.plugin import load_plugins
from yadtq_core.settings import Settings, load
from yadtq_crypt.plugin import CryptPlugin
from yadtq_crypt.settings import CryptSettings, current_of, keys_of

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
OLD_TEXT, NEW_TEXT = base64.b64encode(OLD).decode(), base64.b64encode(NEW).decode()
BOTH = {"2026-10": OLD, "2026-11": NEW}


def configured(tmp_path: Path, text: str = "", **given: str) -> CryptPlugin:
    """Return the plugin, configured by a yadtq.toml with this text, and by settings in code."""
    (tmp_path / "yadtq.toml").write_text(text)
    plugin = CryptPlugin()
    load_plugins(plugin).configure(load(given, folder=tmp_path).settings)
    return plugin


def refusal(settings: CryptSettings) -> str:
    """Return the error for invalid settings."""
    with pytest.raises(InvalidSetting) as caught:
        current_of(settings, keys_of(settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"2026-10": OLD_TEXT, "2026-11": NEW_TEXT},
        json.dumps({"2026-10": OLD_TEXT, "2026-11": NEW_TEXT}),
        f"2026-10={OLD_TEXT},2026-11={NEW_TEXT}",
        f"2026-10 = {OLD_TEXT} , 2026-11 = {NEW_TEXT},",
        f"# of October\n2026-10={OLD_TEXT}\n\n2026-11={NEW_TEXT} # the new one\n",
        f'"2026-10" = "{OLD_TEXT}"\n"2026-11" = "{NEW_TEXT}"',
    ],
)
def test_keys_are_a_table_a_json_object_or_a_list(keys: dict[str, str] | str) -> None:
    assert keys_of(CryptSettings(keys=keys)) == BOTH


def test_keys_come_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"2026-11={NEW_TEXT}\n")
    settings = CryptSettings(keys={"2026-10": OLD_TEXT}, keys_file=str(file), key="2026-10")
    assert keys_of(settings) == BOTH
    assert current_of(settings, BOTH) == "2026-10"


def test_a_single_key_is_the_one_for_new_data() -> None:
    assert current_of(CryptSettings(), {"2026-11": NEW}) == "2026-11"


def test_a_settings_file_and_the_environment_set_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = f'codecs = ["crypt"]\n[crypt]\nkey = "2026-11"\nkeys = {{"2026-10" = "{OLD_TEXT}"}}\n'
    monkeypatch.setenv("YADTQ_CRYPT_KEYS", f"2026-11={NEW_TEXT}")
    (codec,) = configured(tmp_path, table).yadtq_codecs()
    assert codec.encode(b"", "").startswith(b"\x01\x072026-11")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (CryptSettings(keys={"a": OLD_TEXT[:20]}), "crypt.keys: key 'a' is 15 bytes, AES-256 takes 32; make one with"),
        (CryptSettings(keys={"a": "no base64!"}), "crypt.keys: key 'a' is not base64; make one with"),
        (CryptSettings(keys={"a": "\u00e4"}), "crypt.keys: key 'a' is not base64; make one with"),
        (CryptSettings(keys={"a b": OLD_TEXT}), "crypt.keys: 'a b' is no ID of a key: use letters"),
        (CryptSettings(keys="# nothing\n" + OLD_TEXT[:9]), "crypt.keys, line 2: not id=base64, nor a JSON object"),
        (CryptSettings(keys="{"), "crypt.keys: begins with { but is no JSON object {id: base64}"),
        (CryptSettings(keys='{"a": 1}'), "crypt.keys: in the JSON object {id: base64} every key is text"),
        (CryptSettings(keys=f"a={OLD_TEXT},a={NEW_TEXT}"), "key 'a' is given twice, with different bytes"),
        (CryptSettings(keys={"a": OLD_TEXT}, key="b"), "crypt.key = 'b' is not among crypt.keys (have: 'a')"),
        (CryptSettings(key="b"), "crypt.key = 'b' is not among crypt.keys (have: none)"),
        (
            CryptSettings(keys={"a": OLD_TEXT, "b": NEW_TEXT}),
            "crypt.key: name the one of crypt.keys that encrypts new data (have: 'a', 'b')",
        ),
        (CryptSettings(keys_file="/no/such/file"), "crypt.keys_file /no/such/file cannot be read: No such file"),
        (CryptSettings(keys_file="/"), "crypt.keys_file / cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_used_is_said_without_any_key(settings: CryptSettings, said: str) -> None:
    text = refusal(settings)
    assert said in text
    assert OLD_TEXT[:9] not in text
    assert NEW_TEXT[:9] not in text


def test_a_file_that_is_none_of_keys_is_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(b"a=\xff")
    assert "is not UTF-8 at byte 2" in refusal(CryptSettings(keys_file=str(file)))
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    assert "is larger than 1024 KiB: no file of keys" in refusal(CryptSettings(keys_file=str(file)))


def test_encrypting_without_keys_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="codecs names 'crypt', but there are no keys: set"):
        configured(tmp_path, 'codecs = ["crypt"]')


def test_installed_and_not_set_it_does_nothing(tmp_path: Path) -> None:
    (codec,) = configured(tmp_path).yadtq_codecs()
    assert codec.name == "crypt"


def test_settings_that_are_printed_show_no_key(tmp_path: Path) -> None:
    settings = load_plugins(CryptPlugin()).configure(
        Settings(codecs=("crypt",), sections={"crypt": {"keys": {"a": OLD_TEXT}}})
    )
    assert "CryptSettings" in repr(settings)
    assert OLD_TEXT not in repr(settings)


def test_crypt_is_found_by_its_entry_point(unblocked: Callable[..., None]) -> None:
    unblocked("crypt")
    plugins = load_plugins()
    assert plugins.errors == ()
    assert "crypt" in [row.name for row in plugins.rows if not row.blocked]
