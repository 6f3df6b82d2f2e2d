"""A worker that does as little as one must: says its pid to callers, and answers its parent.

Its first argument says how: `well`, `crash` (ends at once), `unready` (never ready), `stuck` (comes to nothing),
`second-unready` (ready only if it is the first in its place, which it marks by the file of its second argument).
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from aiohttp import web

from ops.lifeline import SERVING, Lifeline, Place


async def main(how: str, place: Place) -> None:
    if how == "stuck":
        await asyncio.Event().wait()
    ending, lifeline = asyncio.Event(), Lifeline(place.lifeline)
    lifeline.on_end(ending.set)
    ready = 503 if how == "unready" else 200

    async def pid(_: web.Request) -> web.Response:
        return web.Response(text=str(os.getpid()), headers={"Connection": "close"})

    async def readiness(_: web.Request) -> web.Response:
        return web.json_response({"ready": ready == 200, "wrong": []}, status=ready)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=METRICS)

    public, private = web.Application(), web.Application()
    public.router.add_get("/", pid)
    private.router.add_get("/ready", readiness)
    private.router.add_get("/metrics", metrics)
    async with contextlib.AsyncExitStack() as stack:
        for app, site in (
            (private, lambda runner: web.UnixSite(runner, str(place.private))),
            (public, lambda runner: web.SockSite(runner, place.socket())),
        ):
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await site(runner).start()
        lifeline.tell(SERVING)
        await ending.wait()
    place.last_metrics.write_bytes(METRICS)


METRICS = b"# HELP made_total Made\n# TYPE made_total counter\nmade_total 1.0\n"

if __name__ == "__main__":
    how, mark, given = sys.argv[1:]
    if how == "crash":
        sys.exit(3)
    if how == "second-unready":
        how = "unready" if Path(mark).exists() else "well"
        Path(mark).touch()
    asyncio.run(main(how, Place.parse(given.removeprefix("--as-worker="))))
