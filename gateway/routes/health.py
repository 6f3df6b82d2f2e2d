"""Public liveness: the process answers. What it can reach is told on the private port."""

from typing import Final

from aiohttp import web

from gateway.operations import Operation, answer
from gateway.routes.answers import json_answer
from gateway.schemas import HealthView

ALIVE: Final = HealthView(status="ok")
GET: Final = Operation(
    "GET",
    "/v1/health",
    "getHealth",
    "Health",
    "Tell that the API is up",
    "Public liveness: this process answers. It says nothing about what the process can reach.",
    (answer(200, "The process answers.", ALIVE),),
)


async def get_health(_request: web.Request) -> web.StreamResponse:
    """Answer `GET /v1/health`."""
    return json_answer(ALIVE.to_json())
