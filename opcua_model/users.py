"""Passwords as scrypt hashes in the state folder; names and roles are in SITE.yaml. All refusals look alike."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from controller.core.command import USER_BYTES, Role

LEAST_PASSWORD: Final = 10
MOST_PASSWORD: Final = 256
SCRYPT_N: Final = 2**14
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
FREE_TRIES: Final = 5
MOST_BACK_OFF_S: Final = 60.0
MOST_REMEMBERED: Final = 1000

ROLE: Final = {"Observer": Role.OBSERVER, "Operator": Role.OPERATOR, "Engineer": Role.ENGINEER}


class PasswordRefused(ValueError):
    """A password that may not be set, and why."""


def users_file(state: Path) -> Path:
    """Where the hashes of a site lie."""
    return state / "users.json"


def hash_password(password: str) -> dict[str, Any]:
    """A salted scrypt hash with its parameters."""
    salt = secrets.token_bytes(SALT_BYTES)
    key = _scrypt(password, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    return {
        "salt": base64.b64encode(salt).decode(),
        "key": base64.b64encode(key).decode(),
        "n": SCRYPT_N,
        "r": SCRYPT_R,
        "p": SCRYPT_P,
    }


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=KEY_BYTES)


@cache
def _nobody() -> dict[str, Any]:
    """What a user that does not exist is compared with, in the time that one that does takes."""
    return hash_password(secrets.token_urlsafe(KEY_BYTES))


class UserStore:
    """The hashes of a site. The file is read again whenever it changed.

    `damage` says what is wrong with a file that cannot be read: nobody has a password then, until one is set.
    """

    def __init__(self, path: Path, roles: Mapping[str, str]) -> None:
        self.path, self.roles = path, dict(roles)
        self._stamp: tuple[int, int] | None = None
        self._hashes: dict[str, dict[str, Any]] = {}
        self.damage = ""

    def names(self) -> list[str]:
        """The users that have a password."""
        self._reload()
        return sorted(self._hashes)

    def role(self, name: str) -> Role:
        """The role SITE.yaml gives a user."""
        return ROLE.get(self.roles.get(name, ""), Role.NONE)

    def set(self, name: str, password: str) -> None:
        """Gives a user a password; refused when the name may have none or the password is weak."""
        self.admit(name)
        if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
            raise PasswordRefused(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters")
        if name.lower() in password.lower():
            raise PasswordRefused("the password must not contain the user's name")
        self._reload()
        self._hashes[name] = hash_password(password)
        self._save()

    def admit(self, name: str) -> None:
        """PasswordRefused for a name that may have no password: unknown to the site, or too long for a command."""
        if name not in self.roles:
            raise PasswordRefused(
                f"{name!r} is not among the users of the site: {', '.join(sorted(self.roles)) or 'none'}"
            )
        if len(name.encode()) > USER_BYTES:
            raise PasswordRefused(f"a user name has at most {USER_BYTES} bytes")

    def remove(self, name: str) -> bool:
        """Takes a user's password away; False when there was none."""
        self._reload()
        found = self._hashes.pop(name, None) is not None
        if found:
            self._save()
        return found

    def verify(self, name: str, password: str) -> Role:
        """The user's role, or NONE. An unknown user costs the same time as a wrong password."""
        self._reload()
        nobody, stored = _nobody(), self._hashes.get(name)
        role = self.role(name)
        entry = stored if stored is not None and role is not Role.NONE else nobody
        salt, key = base64.b64decode(entry["salt"]), base64.b64decode(entry["key"])
        given = _scrypt(password[:MOST_PASSWORD], salt, int(entry["n"]), int(entry["r"]), int(entry["p"]))
        return role if hmac.compare_digest(given, key) and entry is not nobody else Role.NONE

    def _reload(self) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._hashes, self._stamp, self.damage = {}, None, ""
            return
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._hashes, self.damage, self._stamp = {}, "", stamp
            try:
                self._hashes = _hashes(self.path.read_bytes())
            except ValueError as error:
                self.damage = (
                    f"{self.path.name} is damaged ({error}): set the passwords anew with `cellwarden user set`"
                )

    def _save(self) -> None:
        temporary = self.path.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._hashes, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self._stamp = None


def _hashes(data: bytes) -> dict[str, dict[str, Any]]:
    """The hashes of a file; ValueError where it does not hold hashes."""
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("no users in it")
    for name, entry in found.items():
        if not isinstance(entry, dict) or not all(isinstance(entry.get(cost), int) for cost in ("n", "r", "p")):
            raise ValueError(f"no password hash of {name}")
        for part in ("salt", "key"):
            base64.b64decode(str(entry.get(part)), validate=True)
    return found


@dataclasses.dataclass(slots=True)
class _Tries:
    wrong: int = 0
    free_at_s: float = 0.0


class Backoff:
    """Wrong tries of a user from an address: five are free, then each doubles the time until the next is looked at.

    Keyed by both, so that nobody can lock a user out from another machine. Bounded: the longest unused is forgotten.
    """

    def __init__(self) -> None:
        self._tries: OrderedDict[tuple[str, str], _Tries] = OrderedDict()

    def blocked(self, name: str, address: str, now_s: float) -> bool:
        """True while a try would not even be looked at."""
        found = self._tries.get((name, address))
        return found is not None and now_s < found.free_at_s

    def wrong(self, name: str, address: str, now_s: float) -> None:
        """A wrong try."""
        found = self._tries.setdefault((name, address), _Tries())
        self._tries.move_to_end((name, address))
        found.wrong += 1
        if found.wrong >= FREE_TRIES:
            found.free_at_s = now_s + min(2.0 ** (found.wrong - FREE_TRIES), MOST_BACK_OFF_S)
        if len(self._tries) > MOST_REMEMBERED:
            self._tries.popitem(last=False)

    def right(self, name: str, address: str) -> None:
        """A right try: all is forgotten."""
        self._tries.pop((name, address), None)
