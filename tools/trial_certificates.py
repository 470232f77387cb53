"""Certificates to try a TLS bus with at a desk: an authority that is forgotten at once, ours, and the device's.

Never for a plant: whoever reads the folder can be the controller. A plant's certificates come from its own authority.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

CA: Final = "ca.pem"
ENDS: Final = ("us", "device")
FILES: Final = (CA, *(f"{end}.{kind}" for end in ENDS for kind in ("pem", "key")))
VALID: Final = datetime.timedelta(days=90)
PRIVATE: Final = 0o600


def write_trial_set(folder: Path, hosts: list[str]) -> list[Path]:
    """Writes FILES into `folder`, the device's certificate for `hosts`; FileExistsError before any is overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} exists, and is not overwritten")
    key, name_ = ec.generate_private_key(ec.SECP256R1()), _name("Cellwarden trial authority")
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    own = _builder(name_, name_, key.public_key()).add_extension(x509.BasicConstraints(True, 0), True)
    own = own.add_extension(usage, True)
    own = own.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    (folder / CA).write_bytes(own.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    for end in ENDS:
        private = ec.generate_private_key(ec.SECP256R1())
        signed = _builder(_name(f"Cellwarden trial {end}"), name_, private.public_key())
        signed = signed.add_extension(x509.SubjectAlternativeName([_alternative(h) for h in hosts]), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        signed = signed.add_extension(issuer, False)
        (folder / f"{end}.pem").write_bytes(signed.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with open(folder / f"{end}.key", "xb", opener=lambda path, flags: os.open(path, flags, PRIVATE)) as file:
            file.write(data)
    return [folder / name for name in FILES]


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + VALID)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
