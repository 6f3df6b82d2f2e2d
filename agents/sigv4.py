"""AWS Signature Version 4 for AgentCore's data plane: the same signatures as botocore's, in a fraction of the time.

The key that signs is derived once per credentials, region and day. The path is signed as it is sent, encoded once
more: an ARN in it goes out as `%3A` and is signed as `%253A`, so nothing behind this may re-encode the URL.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
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
        self._keys: dict[tuple[str, str], bytes] = {}
        self._paths: dict[str, str] = {}

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
        pairs = sorted((name.lower(), _collapsed(value)) for name, value in (*headers.items(), *added.items()))
        signed = ";".join([name for name, _ in pairs])
        lines = "\n".join([f"{name}:{value}" for name, value in pairs])
        request = f"{method}\n{self._encoded(path)}\n{query}\n{lines}\n\n{signed}\n{body_sha256}"
        scope = day + self._scope_tail
        text = f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key(credentials, day), text.encode(), "sha256").hex()
        added["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )
        return added

    def _timestamp(self, now: datetime) -> str:
        second = int(now.timestamp())
        if second != self._second:
            self._second, self._text = second, f"{now:%Y%m%dT%H%M%SZ}"
        return self._text

    def _key(self, credentials: FrozenCredentials, day: str) -> bytes:
        # By the secret, not by the id: nothing forces ids to be unique.
        key = self._keys.get((credentials.secret_key, day))
        if key is None:
            key = ("AWS4" + credentials.secret_key).encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            _remember(self._keys, (credentials.secret_key, day), key)
        return key

    def _encoded(self, path: str) -> str:
        encoded = self._paths.get(path)
        if encoded is None:
            encoded = quote(path, safe="/-_.~")
            _remember(self._paths, path, encoded)
        return encoded


def _collapsed(value: str) -> str:
    return " ".join(value.split()) if " " in value or "\t" in value else value


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= _KEPT:
        known.clear()
    known[key] = value
