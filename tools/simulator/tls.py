"""The simulator's side of a TLS bus: it shows the certificate of a device, and demands one signed by `ca`."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from plc_config.plan import BusPlan

CERTIFICATE: Final = "device.pem"
KEY: Final = "device.key"
"""What the simulated device shows; both lie beside the bus's `ca`."""


def server_context(plan: BusPlan) -> ssl.SSLContext:
    """TLS 1.2 at least, certificates on both sides; OSError or ssl.SSLError where the files do not serve."""
    folder = Path(plan.ca).parent
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    context.load_verify_locations(plan.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def unusable(plan: BusPlan, error: OSError) -> str:
    """Why a TLS bus cannot be simulated, and what helps."""
    folder = Path(plan.ca).parent
    why = error.strerror if not isinstance(error, ssl.SSLError) and error.strerror else str(error)
    needed = f"{folder / CERTIFICATE} with its {KEY}, signed by {Path(plan.ca).name}"
    return f"bus {plan.name}: no certificate to show ({needed}): {why}; `cellwarden cert trial FOLDER` makes a set"
