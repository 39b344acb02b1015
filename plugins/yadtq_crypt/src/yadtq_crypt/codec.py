"""The codec: AES-256-GCM with a random nonce (NIST SP 800-38D, section 8.2.2), each blob with the ID of its key.

    1 byte    format, 1
    1 byte    length of the key's ID
    n bytes   the key's ID, ASCII
    12 bytes  nonce
    the rest  ciphertext and its tag of 16 bytes

Format, key ID and task ID are authenticated too: a blob that was moved to another task, or that names another key, is
refused like one with changed bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from yadtq_core import SerializationError
from yadtq_crypt.settings import listed

if TYPE_CHECKING:
    from yadtq_crypt.aes import Cipher

FORMAT = 1
_START = 2
"""Bytes before the key's ID."""
_LEAST = 12 + 16
"""Bytes of a nonce and a tag."""


class CryptCodec:
    """Encrypts with the key `current`, decrypts with any of `keys`. Safe for use by several threads.

    current: "" if there is no key; then `encode` raises.
    """

    name = "crypt"

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._ciphers = _ciphers(keys) if keys else {}
        self._current = current
        self._header = bytes((FORMAT, len(current))) + current.encode()

    def encode(self, data: bytes, task_id: str) -> bytes:
        """Return the data encrypted for this task; raises SerializationError if there is no key."""
        cipher = self._ciphers.get(self._current)
        if cipher is None:
            raise SerializationError("no key to encrypt with: set crypt.keys (`yadtq crypt new-key` makes one)")
        return self._header + cipher.seal(data, self._header + task_id.encode())

    def decode(self, data: bytes, task_id: str) -> bytes:
        """Return the decrypted data of this task; raises SerializationError with the reason."""
        name, header, sealed = _parts(bytes(data))
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise SerializationError(
                f"encrypted with key {name!r}, which is not among crypt.keys (have: {listed(self._ciphers)}): add it"
            )
        opened = cipher.open(sealed, header + task_id.encode())
        if opened is None:
            raise SerializationError(
                f"not what was encrypted for this task with key {name!r}: the bytes were changed or moved here, "
                "or another key has this ID here"
            )
        return opened


def _ciphers(keys: Mapping[str, bytes]) -> dict[str, Cipher]:
    from yadtq_crypt.aes import Cipher  # noqa: PLC0415  (it takes 18 ms, and a process without keys does not need it)

    return {name: Cipher(key) for name, key in keys.items()}


def _parts(data: bytes) -> tuple[str, bytes, bytes]:
    """Return key ID, header, and the rest; raises SerializationError."""
    if data[:1] and data[0] != FORMAT:
        raise SerializationError(f"of format {data[0]}, not known here: upgrade yadtq-crypt, unless it was changed")
    end = _START + (data[1] if len(data) > 1 else 0)
    name = data[_START:end]
    if len(data) < end + _LEAST or not name.isascii():
        raise SerializationError("not what yadtq-crypt writes: it was cut short or changed")
    return name.decode("ascii"), data[:end], data[end:]
