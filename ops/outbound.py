"""Ordinary HTTP calls of a process; invocations, and batches for the store, have a client of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp

from agents.errors import RuntimeFaultError
from agents.upstream import Upstream
from tenancy.straight import Answered

# Shorter than AWS keeps an idle connection, so that we are the ones who close.
KEEPALIVE_S: Final = 15.0
# As long as botocore would wait.
_STORE_S: Final = 5.0


def open_http() -> aiohttp.ClientSession:
    """Return a client session: pooled, without memory, and every body as it came."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=30, keepalive_timeout=KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        # Nothing is unpacked, so nothing may come packed.
        headers={"Accept-Encoding": "identity", "User-Agent": "lockgate"},
    )


@dataclass(frozen=True, slots=True)
class StorePost:
    """Posts to the root of the store's address, over kept connections."""

    upstream: Upstream

    async def __call__(self, headers: Mapping[str, str], body: bytes) -> Answered | None:
        """Return what it was answered; None where there was no whole answer."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"POST / HTTP/1.1\r\nAccept-Encoding: identity\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        try:
            answer = await self.upstream.post(head.encode(), body, begin_s=_STORE_S, total_s=_STORE_S)
            try:
                said = b""
                while part := await answer.part():
                    said += part
            finally:
                answer.close()
        except RuntimeFaultError:
            return None
        return Answered(answer.status, answer.header(b"x-amz-crc32"), said)
