"""`cellwarden user`: passwords of the users that SITE.yaml names."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opcua_model.users import UserStore
    from plc_config.schema.site import SiteConfig

DEFAULT_SITE = "container"
HELP = "set, list and remove passwords of a site's users"
EXAMPLE = "cellwarden user set operator --site container"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, the name, and the site."""
    parser.add_argument("do", choices=("set", "list", "remove"))
    parser.add_argument("name", nargs="?", help="user, as named in SITE.yaml")
    parser.add_argument("--site", default=DEFAULT_SITE, help="file, or name of a shipped site; else the demo's")
    parser.add_argument("--json", action="store_true", help="list as JSON")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 refused, 2 usage, 78 configuration."""
    from controller.image.folder import state_folder
    from opcua_model.users import PasswordRefused, UserStore, users_file
    from plc_config.compile import compile_site

    config = compile_site(args.site).config
    store = UserStore(users_file(state_folder(config.site.id)), config.users)
    store.names()
    if store.damage:
        print(store.damage, file=sys.stderr)
    if args.do == "list":
        return _list(store, config, args.json)
    if not args.name:
        print(f"which user? {EXAMPLE}", file=sys.stderr)
        return 2
    if args.do == "remove":
        if store.remove(args.name):
            print(f"{args.name} can no longer log in")
            return 0
        print(f"{args.name} has no password", file=sys.stderr)
        return 1
    try:
        store.admit(args.name)
        store.set(args.name, _new_password())
    except PasswordRefused as refused:
        print(refused, file=sys.stderr)
        return 1
    print(f"{args.name} may log in as {config.users[args.name]}")
    return 0


def _list(store: UserStore, config: SiteConfig, as_json: bool) -> int:
    known = set(store.names())
    rows = [{"name": n, "role": r, "password": n in known} for n, r in sorted(config.users.items())]
    rows += [{"name": n, "role": "", "password": True} for n in sorted(known - set(config.users))]
    if as_json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        told = "has a password" if row["password"] else "no password, cannot log in"
        print(f"{row['name']!s:20} {row['role'] or 'not in SITE.yaml, cannot log in'!s:10} {told}")
    return 0


def _new_password() -> str:
    """From the terminal, typed twice; from standard input, one line."""
    from opcua_model.users import PasswordRefused

    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("new password: ")
    if getpass.getpass("once more: ") != first:
        raise PasswordRefused("the two differ")
    return first
