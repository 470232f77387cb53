"""`cellwarden cert`: which OPC UA clients a site trusts; and certificates to try a TLS bus with."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opcua_model.pki import Pki

DEFAULT_SITE = "container"
HELP = "list, trust and remove OPC UA client certificates; show the server's own; make a trial set for TLS buses"
TRIAL_HOSTS = ["127.0.0.1", "localhost"]
EXAMPLE = "cellwarden cert trust 3fa9c1 --site container"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, which certificate, and the site."""
    parser.add_argument("do", choices=("list", "trust", "remove", "own", "trial"))
    parser.add_argument("which", nargs="?", help="thumbprint or its beginning; trust: also a DER file; trial: a folder")
    parser.add_argument("--host", action="append", help="trial: host that the device's certificate is for; repeatable")
    parser.add_argument("--site", default=DEFAULT_SITE, help="file, or name of a shipped site; else the demo's")
    parser.add_argument("--json", action="store_true", help="list and own as JSON")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 no such certificate, 2 usage, 78 configuration."""
    if args.do == "trial":
        return _trial(args.which, args.host or TRIAL_HOSTS)
    from controller.image.folder import state_folder
    from opcua_model.pki import Pki
    from plc_config.compile import compile_site

    config = compile_site(args.site).config
    pki = Pki(state_folder(config.site.id) / "pki")
    if args.do == "own":
        return _own(pki, config.site.id, config.opcua.bind, args.json)
    if args.do == "list":
        return _list(pki, args.json)
    if not args.which:
        print(f"which certificate? {EXAMPLE}", file=sys.stderr)
        return 2
    file = Path(args.which)
    if args.do == "trust" and file.is_file():
        try:
            found: str | None = pki.add(file.read_bytes())
        except ValueError:
            print(f"{file}: not a certificate in DER form", file=sys.stderr)
            return 1
    else:
        found = pki.trust(args.which) if args.do == "trust" else pki.remove(args.which)
    if found is None:
        where = "rejected" if args.do == "trust" else "known"
        print(f"no single {where} certificate begins with {args.which}; see: cellwarden cert list", file=sys.stderr)
        return 1
    print(f"{found} {'is trusted' if args.do == 'trust' else 'removed'}")
    return 0


def _trial(folder: str | None, hosts: list[str]) -> int:
    from tools.trial_certificates import write_trial_set

    if folder is None:
        print("into which folder? cellwarden cert trial . --host 127.0.0.1", file=sys.stderr)
        return 2
    written = write_trial_set(Path(folder), hosts)
    print("\n".join(str(path) for path in written))
    print(
        "for a desk, not for a plant; valid for 90 days. In the site file: ca: ca.pem, certificate: us.pem, key: us.key"
    )
    return 0


def _list(pki: Pki, as_json: bool) -> int:
    entries = pki.entries()
    rows = [
        {
            "thumbprint": e.thumbprint,
            "where": e.where,
            "subject": e.subject,
            "uri": e.uri,
            "until": e.until.date().isoformat() if e.until else "",
        }
        for e in entries
    ]
    if as_json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print(f"{row['thumbprint']}  {row['where']:8}  until {row['until'] or '?':10}  {row['uri']}  {row['subject']}")
    if not rows:
        print("no client has connected yet")
    return 0


def _own(pki: Pki, site: str, host: str, as_json: bool) -> int:
    from opcua_model.pki import own_identity, thumbprint
    from opcua_model.server import application_uri

    own = own_identity(pki.own, f"Cellwarden {site}", application_uri(site), (host,))
    found = {"thumbprint": thumbprint(own.der), "file": str(own.certificate), "uri": own.uri}
    print(json.dumps(found) if as_json else "\n".join(f"{k:10} {v}" for k, v in found.items()))
    return 0
