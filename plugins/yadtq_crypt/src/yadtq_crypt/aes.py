"""AES-256-GCM by the package cryptography (OpenSSL). No other module imports that package."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12


class Cipher:
    """One key. Safe for use by several threads."""

    def __init__(self, key: bytes) -> None:
        self._aes = AESGCM(key)

    def seal(self, data: bytes, beside: bytes) -> bytes:
        """Return a random nonce, the encrypted data and its tag, which authenticates `beside` too."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aes.encrypt(nonce, data, beside)

    def open(self, sealed: bytes, beside: bytes) -> bytes | None:
        """Return the decrypted data; None if it was not sealed with this key and this `beside`."""
        try:
            return self._aes.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], beside)
        except InvalidTag:
            return None
