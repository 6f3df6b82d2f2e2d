"""How the handlers answer with JSON."""

from aiohttp import web


def json_answer(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON answer that no cache keeps: it is one tenant's own."""
    return web.Response(
        status=status,
        body=body,
        content_type="application/json",
        headers={"Cache-Control": "no-store"} | (headers or {}),
    )
