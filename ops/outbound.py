"""Ordinary HTTP calls of a process; invocations have a client of their own, agents.upstream."""

from typing import Final

import aiohttp

# Shorter than AWS keeps an idle connection, so that we are the ones who close.
KEEPALIVE_S: Final = 15.0


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
