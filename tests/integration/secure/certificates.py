"""Certificates for one test run, made by the `openssl` command: a CA and what it signed, right and wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.services import not_to_be_had

_HERE = "IP:127.0.0.1,DNS:localhost"
_CONFIG = """
[ca]
default_ca = here
[here]
database = index.txt
new_certs_dir = .
default_md = sha256
policy = policy
rand_serial = yes
unique_subject = no
copy_extensions = copy
[policy]
commonName = supplied
"""


class Certificates:
    """Paths of PEM files, by the name of who has them: `cert(name)`, `key(name)`, `both(name)`.

    `server` is for 127.0.0.1, `elsewhere` for another host, `expired` is over, `selfsigned` is signed by itself,
    `client` is a client's own; `ca` signed all but that one, `other` is a CA that signed nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if shutil.which("openssl") is None:
            raise not_to_be_had("these tests make their certificates by the openssl command, which is not installed")
        (folder / "ca.cnf").write_text(_CONFIG)
        (folder / "index.txt").touch()
        for name in ("ca", "other"):
            self._self_signed(name, "basicConstraints=critical,CA:TRUE")
        self._self_signed("selfsigned", f"subjectAltName={_HERE}")
        self._signed("server", f"subjectAltName={_HERE}")
        self._signed("client", "extendedKeyUsage=clientAuth")
        self._signed("elsewhere", "subjectAltName=DNS:elsewhere.example")
        self._signed(
            "expired", f"subjectAltName={_HERE}", "-startdate", "20200101000000Z", "-enddate", "20200102000000Z"
        )

    @property
    def ca(self) -> Path:
        """The certificate of the CA."""
        return self.cert("ca")

    def cert(self, name: str) -> Path:
        return self._folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def both(self, name: str) -> Path:
        """Key and certificate in one file, as Kafka takes them."""
        path = self._folder / f"{name}.both.pem"
        path.write_text(self.key(name).read_text() + self.cert(name).read_text())
        return path

    def locked_key(self, name: str) -> Path:
        """The key with a passphrase."""
        path = self._folder / f"{name}.locked.key"
        self._openssl("pkey", "-in", str(self.key(name)), "-aes256", "-passout", "pass:x", "-out", str(path))
        return path

    def _self_signed(self, name: str, extension: str) -> None:
        self._request(name, "-x509", "-days", "2", "-out", str(self.cert(name)), "-addext", extension)

    def _signed(self, name: str, extension: str, *dates: str) -> None:
        self._request(name, "-out", f"{name}.csr", "-addext", extension)
        valid = dates or ("-days", "2")
        self._openssl(
            *("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"),
            *("-in", f"{name}.csr", "-out", str(self.cert(name)), *valid),
        )

    def _request(self, name: str, *options: str) -> None:
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", f"/CN=yadtq-{name}", "-keyout", str(self.key(name)), *options),
        )

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self._folder, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
