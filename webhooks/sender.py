"""Makes one HTTP attempt to a URL that a tenant chose, trusting neither the URL nor what answers.

The guard stands where sockets are made: whatever a name resolved to in this very attempt, and whatever form an
address was written in, no socket is made for an address that is not public. Redirects, proxies of the environment,
cookies and compression are not taken part in; the whole attempt, body included, has one deadline, and what is read
of an answer has a limit. What went wrong is told in words that do not tell a refused address from a closed port.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from tenancy.clock import Clock
from webhooks.addresses import is_public
from webhooks.errors import UrlRefusedError
from webhooks.lookup import AddressRefusedError, Resolve, demand_public
from webhooks.schedule import GONE, THROTTLED
from webhooks.urls import PORTS, UrlRules

DEADLINE_S: Final = 15.0
READ_LIMIT_BYTES: Final = 16 * 1024
HEAD_LIMIT_BYTES: Final = 1024
_HEADERS: Final = {
    "Content-Type": "application/json",
    "User-Agent": "Lockgate-Webhooks/1",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}
_REDIRECTS: Final = range(300, 400)
_SUCCESSES: Final = range(200, 300)


class Result(StrEnum):
    """How an attempt ended, in few words: a label of metrics."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    THROTTLED = "throttled"
    GONE = "gone"
    REDIRECTED = "redirected"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"


_WORDS: Final = {
    Result.REDIRECTED: "The endpoint answered with a redirect, which is not followed.",
    Result.UNREACHABLE: "The endpoint could not be connected to.",
    Result.BROKEN: "The answer broke off or was not valid HTTP.",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt; `error` is safe to show the tenant, `answer_head` is the beginning of the body."""

    result: Result
    status: int | None = None
    error: str | None = None
    answer_head: str | None = None
    retry_after: str | None = None
    duration_s: float = 0.0

    @property
    def delivered(self) -> bool:
        """Tell whether the receiver has it."""
        return self.result is Result.DELIVERED


class Sender:
    """Sends signed bodies. `tls` and `deadline_s` are for receivers of tests."""

    def __init__(
        self,
        rules: UrlRules,
        resolve: Resolve,
        *,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._rules = rules
        self._resolve = resolve
        self._clock = clock
        self._tls = tls or ssl.create_default_context()
        self._deadline_s = deadline_s

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Post `body` and return what came of it; whatever a receiver does is an outcome, never an error."""
        began_s = self._clock.monotonic()
        outcome = await self._attempt(url, headers, body)
        return replace(outcome, duration_s=self._clock.monotonic() - began_s)

    async def _attempt(self, text: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        try:
            url = self._rules.parse(text)
        except UrlRefusedError:
            # The rules have become stricter since it was registered.
            return _failed(Result.UNREACHABLE)
        answer = _Answer()
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._exchange(url, {**headers, **_HEADERS}, body, answer)
        except TimeoutError:
            words = f"The endpoint did not answer completely within {self._deadline_s:g} s."
            return answer.outcome(Result.TIMED_OUT, words)
        except aiohttp.ClientSSLError:
            return _failed(Result.UNREACHABLE, "The TLS handshake with the endpoint failed.")
        except aiohttp.ClientConnectorError:
            return _failed(Result.UNREACHABLE)
        except (aiohttp.ClientError, OSError, ValueError):
            return answer.outcome(Result.BROKEN, _WORDS[Result.BROKEN])
        return answer.judged()

    async def _exchange(self, url: URL, headers: Mapping[str, str], body: bytes, answer: "_Answer") -> None:
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(self._session(url))
            response = await session.post(url, data=body, headers=headers, allow_redirects=False)
            # Before the session: what is left of the answer is not waited for.
            stack.callback(response.close)
            answer.status = response.status
            answer.retry_after = response.headers.get("Retry-After")
            while len(answer.body) < READ_LIMIT_BYTES:
                chunk = await response.content.read(READ_LIMIT_BYTES - len(answer.body))
                if not chunk:
                    break
                answer.body += chunk

    def _session(self, url: URL) -> aiohttp.ClientSession:
        # One for each attempt: its guard knows whether this very URL is exempt, and nothing outlives the attempt.
        guard = _Guard(self._resolve, exempt=self._rules.exempts(url))
        connector = aiohttp.TCPConnector(
            resolver=guard,
            socket_factory=guard.make_socket,
            use_dns_cache=False,
            force_close=True,
            ssl=self._tls,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=READ_LIMIT_BYTES,
        )


class _Answer:
    """What has been read of an answer so far."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.body = bytearray()

    def judged(self) -> Outcome:
        """Return the outcome of an answer that came whole, or as far as it is read."""
        match self.status:
            case status if status in _SUCCESSES:
                return self.outcome(Result.DELIVERED)
            case status if status == GONE:
                return self.outcome(Result.GONE)
            case status if status in THROTTLED:
                return self.outcome(Result.THROTTLED)
            case status if status in _REDIRECTS:
                return self.outcome(Result.REDIRECTED, _WORDS[Result.REDIRECTED])
            case _:
                return self.outcome(Result.REFUSED)

    def outcome(self, result: Result, error: str | None = None) -> Outcome:
        """Return an outcome with what is known of the answer."""
        head = bytes(self.body[:HEAD_LIMIT_BYTES]).decode("utf-8", "replace") if self.status is not None else None
        return Outcome(result, self.status, error, head, self.retry_after)


class _Guard(AbstractResolver):
    """Stands at both ways to an address: the names that resolve to it, and the making of its socket."""

    def __init__(self, resolve: Resolve, *, exempt: bool) -> None:
        self._resolve = resolve
        self._exempt = exempt

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name, all of them public."""
        found = await self._resolve(host, port, family)
        return found if self._exempt else demand_public(found)

    async def close(self) -> None:
        """Hold nothing."""

    def make_socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Make the socket that will be connected to exactly this address."""
        family, kind, protocol, _, address = info
        host, port = address[0], address[1]
        if not self._exempt and not (isinstance(host, str) and is_public(host) and port in PORTS):
            raise AddressRefusedError
        return socket.socket(family=family, type=kind, proto=protocol)


def _failed(result: Result, words: str | None = None) -> Outcome:
    return Outcome(result, error=words or _WORDS[result])
