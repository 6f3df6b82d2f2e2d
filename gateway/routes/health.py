"""Public liveness: the process answers. What it can reach is told on the private port."""

from aiohttp import web


async def get_health(_request: web.Request) -> web.StreamResponse:
    """Answer `GET /v1/health`."""
    return web.Response(body=b'{"status":"ok"}', content_type="application/json", headers={"Cache-Control": "no-store"})
