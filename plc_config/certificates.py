"""Certificates and keys of TLS buses: what is wrong with the files, before any connection is tried.

What only the other side can judge (whether it trusts us, whether its certificate is the right one) shows when the bus
connects, and is told there.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from plc_config.plan import PollingPlan

if TYPE_CHECKING:
    # Only sites with TLS buses load the library, when they are checked: it costs every process 9 MB.
    from cryptography import x509

Mistake = tuple[str, str, str]
"""Key, what is wrong, what would be right."""


def mistakes(ca: str, certificate: str, key: str) -> list[Mistake]:
    """What makes these files unusable for ever: missing, no PEM, a key of another certificate."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    found: list[Mistake] = []
    for name, path in (("ca", ca), ("certificate", certificate)):
        try:
            _certificates(path)
        except (OSError, ValueError) as error:
            found.append((name, f"{path}: {_said(error)}", "a PEM file with BEGIN CERTIFICATE"))
    try:
        private = load_pem_private_key(Path(key).read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        found.append(("key", f"{key}: {_said(error)}", "a PEM private key without a passphrase"))
        return found
    if not any(name == "certificate" for name, _, _ in found):
        ours = _certificates(certificate)[0].public_key()
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if ours.public_bytes(*form) != private.public_key().public_bytes(*form):
            found.append(("key", f"{key} does not belong to {certificate}", "the key this certificate was made for"))
    return found


def untimely(plan: PollingPlan, now: datetime.datetime) -> list[tuple[str, str, str]]:
    """(bus, what, right) for certificates that are not valid at `now`: a connection would be refused."""
    found = []
    for bus in plan.buses:
        for path in (bus.ca, bus.certificate) if bus.kind == "tls" else ():
            for certificate in _certificates(path):
                if now > certificate.not_valid_after_utc:
                    what = f"{path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
                    found.append((bus.name, what, "a certificate that is valid today"))
                elif now < certificate.not_valid_before_utc:
                    what = f"{path} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}"
                    found.append((bus.name, what, "a valid certificate, or the right time on this machine"))
    return found


def _certificates(path: str) -> list[x509.Certificate]:
    from cryptography import x509

    found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    if not found:
        raise ValueError("no certificate in it")
    return found


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return "not what it should be: " + (str(error).splitlines() or [type(error).__name__])[0][:80]
