"""TLS and secrets of an address, the same for the broker and the backend.

Options after the ? of an address: `ca=FILE` (trust this CA instead of the system's), `cert=FILE` and `key=FILE` (the
client's certificate), `verify=none` (do not verify the server), `password_file=FILE`. All files but the last are PEM.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from yadtq_core.errors import ConfigurationRefused, InvalidSetting

TLS_OPTIONS = frozenset({"ca", "cert", "key", "verify"})
PASSWORD_FILE = "password_file"
MAX_SECRET_BYTES = 64 * 1024
"""Limit of a password file. A token with many claims has some kilobytes; a larger file is not a secret."""

ErrorFor = Callable[[str], InvalidSetting]
"""Makes the error for an address from the reason."""


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A password or token, never shown. A file is read again at each login, so that its content may change."""

    value: str = ""
    file: str = ""

    def __bool__(self) -> bool:
        return bool(self.value or self.file)

    def __repr__(self) -> str:
        return "Secret(***)" if self else "Secret()"

    def read(self) -> str:
        """Return the secret without the final newline of a file. Raises ConfigurationRefused for an unusable file."""
        if not self.file:
            return self.value
        try:
            with Path(self.file).open("rb") as file:
                text = file.read(MAX_SECRET_BYTES + 1).decode()
        except OSError as error:
            raise ConfigurationRefused(f"{PASSWORD_FILE} {self.file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigurationRefused(f"{PASSWORD_FILE} {self.file} is not UTF-8: not a password or token") from None
        found = text.strip("\r\n")
        if not found or len(text) > MAX_SECRET_BYTES:
            raise ConfigurationRefused(f"{PASSWORD_FILE} {self.file} is {'too large' if found else 'empty'}")
        return found


@dataclass(frozen=True, slots=True)
class Tls:
    """How the server is verified, and the client's certificate: paths of PEM files, empty if not given."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True


def options_of(query: str, known: Collection[str], refuse: ErrorFor) -> dict[str, str]:
    """Return the options after the ? of an address; raises for an option that is unknown, repeated or empty."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise refuse(f"cannot use {name[:40]!r} here; known: {', '.join(sorted(known))}")
        if name in found or not value:
            raise refuse(f"{name} is {'given twice' if name in found else 'empty'}")
        found[name] = value
    return found


def tls_of(options: Mapping[str, str], refuse: ErrorFor) -> Tls:
    """Return the TLS options of an address."""
    if options.get("verify", "none") != "none":
        raise refuse(f"verify must be none, or left out to verify the server; got {options['verify'][:40]!r}")
    if "key" in options and "cert" not in options:
        raise refuse("key needs cert")
    if "ca" in options and "verify" in options:
        raise refuse("ca and verify=none contradict each other: leave one out")
    given = {name: options.get(name, "") for name in ("ca", "cert", "key")}
    return Tls(**given, verify="verify" not in options)


def secret_of(in_address: str | None, setting: str, options: Mapping[str, str], refuse: ErrorFor) -> Secret:
    """Return the password of the address, else of the settings (environment), else of the file."""
    if in_address and PASSWORD_FILE in options:
        raise refuse(f"it has a password and {PASSWORD_FILE}: leave one out")
    if in_address or setting:
        return Secret(in_address or setting)
    return Secret(file=options.get(PASSWORD_FILE, ""))


def context_of(tls: Tls) -> ssl.SSLContext:
    """Return the context for connections with TLS 1.2 or newer.

    Raises ConfigurationRefused with the name of the file that is missing or unusable.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif tls.ca:
        _readable("ca", tls.ca)
        try:
            made.load_verify_locations(tls.ca)
        except ssl.SSLError:
            raise ConfigurationRefused(f"ca {tls.ca} holds no certificate in PEM") from None
    else:
        made.load_default_certs()
    if tls.cert:
        _load_own(made, tls)
    return made


def certificate_trouble(text: str) -> str | None:
    """Return the fault of a certificate for a message of OpenSSL, None if the message is about something else."""
    return next((meaning for sign, meaning in _CERTIFICATE if re.search(sign, text)), None)


def is_loopback(host: str) -> bool:
    """True when the host is this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def warnings_of(shown: str, hosts: Collection[str], tls: Tls | None, secret: Secret) -> list[str]:
    """Return the warnings to log at every start with this address, empty for a safe one.

    shown: the address without secrets.
    """
    if tls is not None and not tls.verify:
        return [f"{shown}: verify=none, so the server may be an impostor: give its CA by ca=FILE instead"]
    if tls is None and secret and not all(map(is_loopback, hosts)):
        return [f"{shown}: the login crosses the network without TLS, so others can read it: use TLS"]
    return []


def _load_own(made: ssl.SSLContext, tls: Tls) -> None:
    """Load the client's certificate and key. Never prompt for a passphrase: a worker would hang."""
    _readable("cert", tls.cert)
    if tls.key:
        _readable("key", tls.key)

    def no_passphrase() -> str:
        raise ConfigurationRefused(f"key {tls.key or tls.cert} has a passphrase: use a key without one")

    try:
        made.load_cert_chain(tls.cert, tls.key or None, no_passphrase)
    except ssl.SSLError as error:
        if "MISMATCH" in str(error):
            raise ConfigurationRefused(f"key {tls.key} does not belong to cert {tls.cert}") from None
        where = f"cert {tls.cert} and key {tls.key}" if tls.key else f"cert {tls.cert}"
        raise ConfigurationRefused(f"{where}: no certificate and private key in PEM") from None


def _readable(name: str, path: str) -> None:
    """Raise for an unreadable file: the error of the TLS library names no file."""
    try:
        with Path(path).open("rb"):
            return
    except OSError as error:
        raise ConfigurationRefused(f"{name} {path} cannot be read: {error.strerror}") from None


_OWN = "give the client's certificate by cert=FILE&key=FILE, from a CA that the server trusts"
_CERTIFICATE = (
    # (OpenSSL's text, meaning and what to do)
    ("certificate has expired", "its certificate has expired: renew it on the server"),
    ("not yet valid", "its certificate is not valid yet: check the clocks"),
    ("self.signed certificate in certificate chain", "its certificate is from an unknown CA: give the CA by ca=FILE"),
    ("self.signed certificate", "its certificate is self-signed: give it by ca=FILE"),
    ("unable to get (local )?issuer", "its certificate is from an unknown CA: give the CA by ca=FILE"),
    (
        "[Hh]ostname mismatch|IP address mismatch|not valid for",
        "its certificate is for another host: use the name in the certificate",
    ),
    ("(?i)alert.*(certificate|unknown.ca)", "it refuses the client's certificate: " + _OWN),
    ("(?i)alert.handshake.failure", "it refuses the handshake; if it requires a client certificate, " + _OWN),
    ("(?i)certificate.verify.failed", "its certificate cannot be verified: give its CA by ca=FILE"),
)
