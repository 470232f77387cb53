"""Certificates for tests: an authority, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates; `path` is its own."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Authority {name}")])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        own = self._builder(self.name, self.key.public_key(), -1, 3650)
        own = own.add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        own = own.add_extension(identifier, False)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(own.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, first: int, last: int
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + first * DAY)
            .not_valid_after(now + last * DAY)
        )

    def sign(self, name: str, first: int = -1, last: int = 30) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1, valid from day `first` to day `last` from now, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key(), first, last)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address, x509.DNSName(f"{name}.site")]), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, False)
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private
