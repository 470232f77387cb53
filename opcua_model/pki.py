"""Certificates: our own, those we trust, and those that knocked. Trust is a file: what is in `trusted` may connect."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import ipaddress
import os
import socket
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_BITS: Final = 2048
VALID_DAYS: Final = 5 * 365
MOST_REJECTED: Final = 50
MOST_DER_BYTES: Final = 8192
WEAK_HASHES: Final = ("md5", "sha1")


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """An application's certificate and private key, as files."""

    certificate: Path
    key: Path
    uri: str

    @property
    def der(self) -> bytes:
        """The certificate's bytes."""
        return self.certificate.read_bytes()


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One certificate in the store, for people."""

    thumbprint: str
    where: str
    subject: str
    uri: str
    until: datetime.datetime | None


def thumbprint(der: bytes) -> str:
    """SHA-1 of the certificate in hex, the name by which OPC UA tools show it; trust compares the whole certificate."""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest()


class Pki:
    """The certificate store of a site, below its state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own, self.trusted, self.rejected = (folder / n for n in ("own", "trusted", "rejected"))
        for path in (self.own, self.trusted, self.rejected):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def judge(self, der: bytes, auto_trust: bool = False) -> str:
        """Why a client's certificate is refused, empty when it is trusted; an unknown one is kept in `rejected`.

        One that is not valid yet is judged as any other: its owner has long begun to use it, so this machine's clock
        is behind, and that must not keep out whom a person trusted.
        """
        if not 0 < len(der) <= MOST_DER_BYTES:
            return "no certificate"
        try:
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            return "the certificate cannot be read"
        fault = _fault(certificate)
        if fault:
            return fault
        name = f"{thumbprint(der)}.der"
        known = self.trusted / name
        if auto_trust or (known.is_file() and known.read_bytes() == der):
            return ""
        self._reject(name, der)
        return f"the certificate {thumbprint(der)} is not trusted"

    def _reject(self, name: str, der: bytes) -> None:
        path = self.rejected / name
        if not path.exists():
            old = sorted(self.rejected.glob("*.der"), key=lambda p: p.stat().st_mtime)
            for extra in old[: max(len(old) - MOST_REJECTED + 1, 0)]:
                extra.unlink(missing_ok=True)
            path.write_bytes(der)

    def trust(self, prefix: str) -> str | None:
        """Moves a rejected certificate to the trusted ones; its thumbprint, or None when no single one matches."""
        found = [p for p in self.rejected.glob("*.der") if p.stem.startswith(prefix.lower().replace(":", ""))]
        if len(found) != 1:
            return None
        found[0].replace(self.trusted / found[0].name)
        return found[0].stem

    def add(self, der: bytes) -> str:
        """Trusts a certificate that was brought by hand."""
        x509.load_der_x509_certificate(der)
        (self.trusted / f"{thumbprint(der)}.der").write_bytes(der)
        return thumbprint(der)

    def remove(self, prefix: str) -> str | None:
        """Forgets a certificate, trusted or rejected; its thumbprint, or None when no single one matches."""
        wanted = prefix.lower().replace(":", "")
        found = [p for f in (self.trusted, self.rejected) for p in f.glob("*.der") if p.stem.startswith(wanted)]
        if len(found) != 1:
            return None
        found[0].unlink()
        return found[0].stem

    def entries(self) -> list[Entry]:
        """All client certificates, the rejected ones first."""
        found = []
        for where, folder in (("rejected", self.rejected), ("trusted", self.trusted)):
            for path in sorted(folder.glob("*.der")):
                found.append(describe(path.read_bytes(), where))
        return found


def describe(der: bytes, where: str) -> Entry:
    """A certificate for people; one that cannot be read is still listed."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return Entry(thumbprint(der), where, "unreadable", "", None)
    uri = application_uri(certificate) or ""
    return Entry(thumbprint(der), where, certificate.subject.rfc4514_string(), uri, certificate.not_valid_after_utc)


def application_uri(certificate: x509.Certificate) -> str | None:
    """The application URI that the certificate vouches for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if uris else None


def _fault(certificate: x509.Certificate) -> str:
    now = datetime.datetime.now(datetime.UTC)
    if now > certificate.not_valid_after_utc:
        return f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}; it is {now:%Y-%m-%d} here"
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < KEY_BITS:
        return f"the certificate's key is not RSA of at least {KEY_BITS} bit"
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None or algorithm.name in WEAK_HASHES:
        return "the certificate is signed with a weak hash"
    if application_uri(certificate) is None:
        return "the certificate names no application URI"
    return ""


def own_identity(folder: Path, name: str, uri: str, hosts: tuple[str, ...] = ()) -> Identity:
    """The application's own certificate: made on first use, made anew when it expired or names another application.

    Whoever trusts it knows it by its bytes, so a clock that is wrong for a while must not cost it: while the clock is
    behind it stays, and the one before is kept aside and taken up again when it is the one that is valid.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    identity = Identity(folder / "certificate.der", folder / "key.pem", uri)
    before = Identity(folder / "certificate.before.der", folder / "key.before.pem", uri)
    if _usable(identity) and not (_early(identity) and _usable(before) and not _early(before)):
        return identity
    if _usable(before):
        _copy(before, identity)
        return identity
    if identity.certificate.exists() and identity.key.exists():
        _copy(identity, before)
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_key(identity.key, private)
    identity.certificate.write_bytes(_self_signed(key, name, uri, hosts).public_bytes(serialization.Encoding.DER))
    return identity


def _usable(identity: Identity) -> bool:
    """Certificate and key are there, belong together and to the application, and have not expired."""
    if not (identity.certificate.exists() and identity.key.exists()):
        return False
    try:
        certificate = x509.load_der_x509_certificate(identity.der)
    except ValueError:
        return False
    right = not _fault(certificate) and application_uri(certificate) == identity.uri
    return right and _fits(certificate, identity.key)


def _early(identity: Identity) -> bool:
    certificate = x509.load_der_x509_certificate(identity.der)
    return datetime.datetime.now(datetime.UTC) < certificate.not_valid_before_utc


def _copy(source: Identity, target: Identity) -> None:
    """A crash within leaves the source whole, and a target that does not fit and is not used."""
    _write_key(target.key, source.key.read_bytes())
    target.certificate.write_bytes(source.der)


def _write_key(path: Path, private: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(private)


def _fits(certificate: x509.Certificate, key: Path) -> bool:
    """A crash between writing the two must not leave a server that nobody can talk to."""
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except ValueError:
        return False
    return private.public_key() == certificate.public_key()


def _self_signed(key: rsa.RSAPrivateKey, name: str, uri: str, hosts: tuple[str, ...]) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cellwarden"),
        ]
    )
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    for host in dict.fromkeys((socket.gethostname(), "localhost", "127.0.0.1", *hosts)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour of grace for a client whose clock is behind.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(usage, critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
