"""AWS Signature Version 4 for AgentCore's data plane: the same signatures as botocore's, in a fraction of the time.

The key that signs is derived once per credentials, region and day. The path is signed as it is sent, encoded once
more: an ARN in it goes out as `%3A` and is signed as `%253A`, so nothing behind this may re-encode the URL.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Final, Protocol, TypeVar
from urllib.parse import quote

SERVICE: Final = "bedrock-agentcore"
_KEPT: Final = 1024

K = TypeVar("K")
V = TypeVar("V")


class FrozenCredentials(Protocol):
    """Credentials at one moment; `token` is None for long-lived ones."""

    @property
    def access_key(self) -> str:
        """The access key id, public."""
        ...

    @property
    def secret_key(self) -> str:
        """The secret."""
        ...

    @property
    def token(self) -> str | None:
        """The session token."""
        ...


class Credentials(Protocol):
    """Where credentials come from; botocore's own, which renew themselves, are of this shape."""

    async def get_frozen_credentials(self) -> FrozenCredentials:
        """Return credentials that are good now."""
        ...


@dataclass(frozen=True, slots=True)
class StaticCredentials:
    """Credentials that never change, and their own provider."""

    access_key: str
    secret_key: str
    token: str | None = None

    async def get_frozen_credentials(self) -> "StaticCredentials":
        """Return itself."""
        return self


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """Return a query string as SigV4 wants it; send exactly this one."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


class SigV4Signer:
    """Signs requests to one region's service."""

    def __init__(self, region: str, service: str = SERVICE) -> None:
        self._scope_tail = f"/{region}/{service}/aws4_request"
        self._region = region
        self._service = service
        self._second, self._text = 0, ""
        self._keys: dict[tuple[str, str], _Mac] = {}
        self._paths: dict[str, str] = {}
        self._orders: dict[tuple[str, ...], _Order] = {}

    def sign(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body_sha256: str,
        *,
        credentials: FrozenCredentials,
        now: datetime,
    ) -> dict[str, str]:
        """Return the headers that sign a request: what is in `headers`, `Host` among them, must be sent as given.

        `path` and `query` are as sent, encoded; `now` is UTC.
        """
        timestamp = self._timestamp(now)
        day = timestamp[:8]
        added = {"X-Amz-Date": timestamp}
        if credentials.token is not None:
            added["X-Amz-Security-Token"] = credentials.token
        given = {**headers, **added}
        order = self._order((*given,))
        lines = "".join([f"{lower}:{_collapsed(given[name])}\n" for name, lower in order.names])
        request = f"{method}\n{self._encoded(path)}\n{query}\n{lines}\n{order.signed}\n{body_sha256}"
        scope = day + self._scope_tail
        text = f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = self._key(credentials, day).of(text.encode())
        added["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={order.signed}, Signature={signature}"
        )
        return added

    def _timestamp(self, now: datetime) -> str:
        second = int(now.timestamp())
        if second != self._second:
            self._second, self._text = second, f"{now:%Y%m%dT%H%M%SZ}"
        return self._text

    def _key(self, credentials: FrozenCredentials, day: str) -> "_Mac":
        # By the secret, not by the id: nothing forces ids to be unique.
        mac = self._keys.get((credentials.secret_key, day))
        if mac is None:
            key = ("AWS4" + credentials.secret_key).encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            mac = _Mac(key)
            _remember(self._keys, (credentials.secret_key, day), mac)
        return mac

    def _order(self, names: tuple[str, ...]) -> "_Order":
        order = self._orders.get(names)
        if order is None:
            pairs = tuple(sorted(((name, name.lower()) for name in names), key=itemgetter(1)))
            order = _Order(pairs, ";".join(lower for _, lower in pairs))
            _remember(self._orders, names, order)
        return order

    def _encoded(self, path: str) -> str:
        encoded = self._paths.get(path)
        if encoded is None:
            encoded = quote(path, safe="/-_.~")
            _remember(self._paths, path, encoded)
        return encoded


@dataclass(frozen=True, slots=True)
class _Order:
    """The headers of a kind of request in the order in which they are signed, and how that is told."""

    names: tuple[tuple[str, str], ...]
    signed: str


class _Mac:
    """HMAC-SHA256 under one key of 32 bytes, which is taken in once and not for each message (RFC 2104, 4)."""

    def __init__(self, key: bytes) -> None:
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def of(self, message: bytes) -> str:
        """Return the message's code in hexadecimal digits."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()


def _collapsed(value: str) -> str:
    return " ".join(value.split()) if " " in value or "\t" in value else value


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= _KEPT:
        known.clear()
    known[key] = value
