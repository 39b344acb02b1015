"""The hooks: the section `[crypt]`, the codec `crypt`, and their findings for `yadtq doctor`."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from yadtq_core import Client, InvalidSetting
from yadtq_core.plugin import Codec, Finding, Level, Settings, hookimpl
from yadtq_crypt.codec import CryptCodec
from yadtq_crypt.settings import CryptSettings, current_of, keys_of, listed

NAME = CryptCodec.name


class CryptPlugin:
    """The plugin of one client, worker or child."""

    def __init__(self) -> None:
        self._settings = CryptSettings()
        self._keys: dict[str, bytes] = {}
        self._current = ""

    @hookimpl
    def yadtq_settings(self) -> Mapping[str, type]:
        """Offer the section `[crypt]`."""
        return {"crypt": CryptSettings}

    @hookimpl
    def yadtq_configure(self, settings: Settings) -> None:
        """Read the keys; raises InvalidSetting for invalid keys, and if `codecs` names crypt and there is no key."""
        self._settings = settings.section(CryptSettings)
        self._keys = keys_of(self._settings)
        self._current = current_of(self._settings, self._keys)
        if NAME in settings.codecs and not self._keys:
            raise InvalidSetting(
                "codecs names 'crypt', but there are no keys: set crypt.keys, YADTQ_CRYPT_KEYS or crypt.keys_file "
                "(`yadtq crypt new-key` makes one)"
            )

    @hookimpl
    def yadtq_codecs(self) -> Sequence[Codec]:
        """Offer the codec. It decrypts data of all its keys, even if `codecs` does not name it."""
        return [CryptCodec(self._keys, self._current)]

    @hookimpl
    def yadtq_health(self, client: Client) -> Iterable[Finding]:
        """Return the key that encrypts, and a warning if there are keys and nothing is encrypted."""
        return self._found(client.settings)

    def _found(self, settings: Settings) -> Iterator[Finding]:
        if not self._keys:
            return
        have = f"keys here: {listed(self._keys)}"
        if NAME in settings.codecs:
            yield Finding(NAME, Level.OK, f"arguments and results are encrypted with key {self._current!r}; {have}")
        else:
            found = f"arguments and results are not encrypted here, though there are keys; {have}"
            yield Finding(NAME, Level.WARNING, found, 'set codecs = ["crypt"] here too')
        yield from self._exposed()

    def _exposed(self) -> Iterator[Finding]:
        """Yield a warning if users other than its owner and group may read the file of keys."""
        path = Path(self._settings.keys_file).expanduser()
        if self._settings.keys_file and stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH:
            yield Finding(NAME, Level.WARNING, f"{path} can be read by every user of this machine", f"chmod o-r {path}")
