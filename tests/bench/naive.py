"""The yardstick: the shortest streaming proxy that aiohttp allows. It asks nobody, counts nothing, keeps nothing.

Usage: `python -m tests.bench.naive PORT UPSTREAM_URL LOOP`, where LOOP is `uvloop` or `asyncio`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

_HOP = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_HTTP = web.AppKey("http", aiohttp.ClientSession)


def build(upstream: str) -> web.Application:
    """Return the proxy."""

    async def http(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            app[_HTTP] = session
            yield

    async def proxy(request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = URL(upstream + request.raw_path, encoded=True)
        async with request.app[_HTTP].post(url, data=await request.read(), headers=headers) as answer:
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=passed)
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            await response.write_eof()
        return response

    app = web.Application()
    app.cleanup_ctx.append(http)
    app.router.add_post("/{path:.*}", proxy)
    return app


if __name__ == "__main__":
    loop = uvloop.new_event_loop() if sys.argv[3] == "uvloop" else asyncio.new_event_loop()
    web.run_app(
        build(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=lambda _: None, loop=loop
    )
