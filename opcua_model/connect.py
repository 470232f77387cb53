"""Finding a site's server: its endpoint and log-in from SITE.yaml, the state folder and the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from opcua_model.client import Login
from opcua_model.library import ua
from opcua_model.naming import PATH
from plc_config.compile import Compiled

ANY: Final = ("0.0.0.0", "::")  # noqa: S104  # compared, not bound to
UNREACHABLE: Final = (OSError, TimeoutError, asyncio.CancelledError)


def endpoint_of(compiled: Compiled) -> str:
    """The URL of a site's server as seen from its own machine."""
    config = compiled.config.opcua
    host = "127.0.0.1" if config.bind in ANY else config.bind
    return f"opc.tcp://{host}:{config.port}{PATH}"


def login_of(state: Path, user: str | None, ask: Callable[[], str], remote: bool = False) -> Login:
    """The log-in of a user; without one anonymous. On the site's own machine the server's certificate is known."""
    if not user:
        return Login()
    own = state / "pki" / "own" / "certificate.der"
    known = own if own.exists() and not remote else None
    return Login(state / "client", user, ask(), known)


def explain(error: BaseException, thumbprint: str = "", site: str = "") -> str:
    """What a person can do about a connection that was refused, as a line to paste where there is one.

    thumbprint: of the own certificate, if one was shown; site: as the command was given it.
    """
    code: Any = getattr(error, "code", 0)
    if code == ua.StatusCodes.BadUserAccessDenied:
        return "wrong user name or password"
    if code == ua.StatusCodes.BadIdentityTokenRejected:
        return "the server wants a user and a password: give --user"
    if code == ua.StatusCodes.BadSecurityModeInsufficient:
        return "the server is not a demo: give --user"
    trust = f"cellwarden cert --site {site} trust {thumbprint}" if thumbprint else ""
    if code == ua.StatusCodes.BadSecurityChecksFailed:
        return f"the server does not trust this client's certificate: {trust}" if trust else "the server demands trust"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there: is `cellwarden run` up, and is it that port?"
    if isinstance(error, TimeoutError) and not getattr(error, "errno", None):
        return "no answer in time: the machine is busy or the network loses it; try again"
    if isinstance(error, ConnectionError | asyncio.CancelledError):
        # A server that does not know a certificate may just hang up.
        return "the server closed the connection" + (f"; if it does not know this client: {trust}" if trust else "")
    if isinstance(error, OSError):
        return f"unreachable: {error.strerror or error}"
    return str(error) or type(error).__name__
