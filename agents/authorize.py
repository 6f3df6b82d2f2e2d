"""How a call proves to AgentCore who makes it: a runtime takes signed calls or bearer tokens, never both."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from agents.sigv4 import Credentials, SigV4Signer
from tenancy.clock import Clock

# Hashing this much takes about a millisecond: longer bodies are hashed beside the loop.
_LONG_BODY_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A call about to be made; `path` and `query` are encoded as they are sent, `headers` hold what may be signed."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Authorizer(Protocol):
    """Authorizes calls."""

    async def headers(self, call: Outgoing) -> Mapping[str, str]:
        """Return the headers to add; good for this one try."""
        ...


class SigV4Authorizer:
    """Signs with AWS credentials."""

    def __init__(self, signer: SigV4Signer, credentials: Credentials, clock: Clock) -> None:
        self._signer = signer
        self._credentials = credentials
        self._clock = clock

    async def headers(self, call: Outgoing) -> Mapping[str, str]:
        """Return date, token and signature."""
        long = len(call.body) > _LONG_BODY_BYTES
        digest = await asyncio.to_thread(_sha256, call.body) if long else _sha256(call.body)
        return self._signer.sign(
            call.method,
            call.path,
            call.query,
            call.headers,
            digest,
            credentials=await self._credentials.get_frozen_credentials(),
            now=self._clock.now(),
        )


class BearerAuthorizer:
    """Shows a token, asked for anew for each call."""

    def __init__(self, token: Callable[[], Awaitable[str]]) -> None:
        self._token = token

    async def headers(self, call: Outgoing) -> Mapping[str, str]:  # noqa: ARG002 - a token is good for any call
        """Return the Authorization header."""
        return {"Authorization": f"Bearer {await self._token()}"}


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
