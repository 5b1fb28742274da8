"""Limits of a server, and who may connect."""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rivulet.errors import ConfigError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Limits:
    """What one server takes on.

    streams: live signals at once; parked ones make room for new ones.
    connections: WebSockets at once, those that send nothing included.
    uploads: files over HTTP at once.
    message_bytes, upload_bytes: the largest message and the largest file.
    upload_s: seconds for a whole file to arrive.
    idle_s: seconds without a message after which a connection is closed.
    length_s: seconds of audio of one stream or file.
    resume_s: seconds that a stream waits for its client to come back.
    send_s: seconds that a client may take to read a message.
    drain_s: seconds for the last results when the server ends.
    """

    streams: int = 32
    connections: int = 2_000
    uploads: int = 4
    message_bytes: int = 1 << 20
    upload_bytes: int = 100 << 20
    upload_s: float = 600.0
    idle_s: float = 60.0
    length_s: float = 4 * 3600.0
    resume_s: float = 30.0
    send_s: float = 10.0
    drain_s: float = 10.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: one is zero or negative.
        """
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(
                    f"a server with {name} = {value} serves nobody; give more than 0."
                )


@dataclass(frozen=True)
class Access:
    """Who may connect: by token, by the page's origin, by the name the server is called by.

    token: what a client has to know; None for nothing.
    origins: pages of other hosts that may connect, such as `https://example.org`; `*` for all.
    local: whether the server listens on loopback only. A page that a browser was tricked into
        loading (DNS rebinding) then calls it by a foreign name and is refused.
    """

    token: str | None = None
    origins: frozenset[str] = field(default_factory=frozenset)
    local: bool = True

    def refusal(self, headers: Mapping[str, str], token: str | None) -> str | None:
        """Return why a request is refused, in a sentence; None if it is not.

        Args:
            headers: the request's, names in lower case.
            token: what its query or its Authorization header brought.
        """
        return self.origin_refusal(headers) or self._token_refusal(token)

    def origin_refusal(self, headers: Mapping[str, str]) -> str | None:
        """Return why a request of a foreign page is refused; None if it is not."""
        host = headers.get("host", "")
        if self.local and not self.origins and host_name(host) not in LOOPBACK_NAMES:
            return (
                f"the server was called {host[:80]!r} and answers to localhost only; "
                "call it by that name, or allow the page with --allow-origin."
            )
        origin = headers.get("origin")
        if origin is None or "*" in self.origins or origin in self.origins:
            return None
        if urlsplit(origin).netloc == host and host:
            return None
        return f"the page {origin[:80]!r} may not connect; allow it with --allow-origin."

    def _token_refusal(self, token: str | None) -> str | None:
        if self.token is None:
            return None
        if token is not None and hmac.compare_digest(token.encode(), self.token.encode()):
            return None
        return "the token is missing or wrong; send Authorization: Bearer TOKEN, or ?token=TOKEN."


def host_name(host: str) -> str:
    """Return a Host header without its port; an IPv6 address without brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def check_host(host: str, token: str | None, insecure: bool) -> None:
    """Refuse to serve other machines without a word.

    Raises:
        ConfigError: the host is no loopback address, and there is neither a token nor `insecure`.
    """
    if not is_loopback(host) and not token and not insecure:
        raise ConfigError(
            f"--host {host} is reached from other machines; give a --token that clients have to "
            "know, or --insecure to serve everyone."
        )
