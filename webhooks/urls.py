"""Which URLs webhooks may be sent to, pure; parsed once, so that what was judged is what is connected to.

https on two ports, to an ordinary host name or a public address. What stands on the dev allow-list (host and port,
exactly) is exempt from that, and from the check of its addresses: it is how a developer's own machine is reached.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from yarl import URL

from webhooks.addresses import is_public
from webhooks.errors import UrlRefusedError

PORTS: Final = frozenset({443, 8443})
LENGTH_LIMIT: Final = 2_048
_NAME_LIMIT: Final = 253
_UNSEEN = re.compile(r"[\x00-\x20\x7f\\]")
# Two labels at least, the last of them no number in any notation: resolvers take those for addresses.
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class UrlRules:
    """The rules of one deployment; `allow` is the dev allow-list of (host, port)."""

    allow: frozenset[tuple[str, int]] = frozenset()

    def parse(self, text: str) -> URL:
        """Return the URL as it will be connected to; raises UrlRefusedError."""
        if len(text) > LENGTH_LIMIT:
            raise UrlRefusedError(f"The URL is longer than {LENGTH_LIMIT} characters.")
        if _UNSEEN.search(text):
            raise UrlRefusedError("The URL contains a space, a control character or a backslash.")
        try:
            url = URL(text)
            host, port = url.raw_host, url.port
        except ValueError as error:
            raise UrlRefusedError("This is not a URL.") from error
        if url.scheme not in {"http", "https"} or not host or port is None:
            raise UrlRefusedError("The URL must begin with https:// and name a host.")
        if url.raw_user is not None or url.raw_password is not None:
            raise UrlRefusedError("The URL must not carry a user name or a password.")
        if url.raw_fragment:
            raise UrlRefusedError("The URL must not have a fragment.")
        if not self.exempts(url):
            _demand_public(url, host, port)
        return url

    def exempts(self, url: URL) -> bool:
        """Tell whether the URL's host and port stand on the dev allow-list."""
        return (url.raw_host, url.port) in self.allow


def parse_allow(text: str) -> frozenset[tuple[str, int]]:
    """Read a dev allow-list, `host:port` separated by commas; raises ValueError."""
    entries = [entry.strip() for entry in text.split(",")]
    return frozenset(_entry(entry) for entry in entries if entry)


def _entry(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not host or _UNSEEN.search(host) or not colon or not (port.isascii() and port.isdigit()):
        raise ValueError("the allow-list is host:port,host:port")
    return host.strip("[]").lower(), int(port)


def _demand_public(url: URL, host: str, port: int) -> None:
    if url.scheme != "https":
        raise UrlRefusedError("The URL must begin with https://.")
    if port not in PORTS:
        raise UrlRefusedError("The port must be 443 or 8443.")
    if _is_address(host):
        if not is_public(host):
            raise UrlRefusedError("The host must be a public address.")
    elif len(host) > _NAME_LIMIT or not _NAME.fullmatch(host):
        raise UrlRefusedError("The host must be a full domain name or a public address.")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
