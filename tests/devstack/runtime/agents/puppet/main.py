"""A bare ASGI agent whose every move a test decides, for what no well-behaved SDK agent does."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

ping = {"status": 200, "body": {"status": "Healthy"}}
gate = asyncio.Event()
left = asyncio.Event()


async def _chunks(texts: list[str]) -> AsyncIterator[bytes]:
    """Yield the first chunk at once, each further one when told `go`."""
    try:
        for place, text in enumerate(texts):
            if place:
                await gate.wait()
                gate.clear()
            yield text.encode("latin-1")
    finally:
        left.set()


async def _invocations(request: Request) -> Response:
    order = await request.json()
    match order["do"]:
        case "ping":
            ping.update(status=order["status"], body=order["body"])
        case "answer":
            return Response(order["body"], status_code=order["status"])
        case "stream":
            return StreamingResponse(_chunks(order["chunks"]), media_type=order["type"])
        case "go":
            gate.set()
        case "hang":
            await asyncio.get_running_loop().create_future()
        case "await-left":
            await left.wait()
        case "ignore-sigterm":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "have-child":
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
            return JSONResponse({"pid": child.pid})
    return JSONResponse({"pid": os.getpid()})


async def _ping(_: Request) -> Response:
    return JSONResponse(ping["body"], status_code=ping["status"])


app = Starlette(routes=[Route("/invocations", _invocations, methods=["POST"]), Route("/ping", _ping)])

if __name__ == "__main__":
    uvicorn.run(app, port=8080, log_level="warning")
