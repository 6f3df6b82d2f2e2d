"""The local stack's tools: a real MCP server with a tool for each tier, and a log of what reached it.

`/mcp` speaks MCP, `/calls` lists every call that came (`DELETE` forgets them), `/http/weather` is a tool of plain HTTP.
Runs in an environment of its own, so it imports nothing of Lockgate; it listens on loopback alone. What the log shows
is the proof of what Lockgate let through: a refused call is not in it.
"""

import argparse
import asyncio
import json
import signal
from collections import deque
from datetime import UTC, datetime

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

KEPT = 1_000
HOST = "127.0.0.1"
# Made up, and of the kinds that a tenant may want taken out of answers.
CONTACTS = {
    "acme": "Ada Lock, ada.lock@acme.example, +44 20 7946 0958",
    "globex": "Grace Gate, grace@globex.example, 192.0.2.17",
}
RATES = {"EUR": 1.17, "USD": 1.35, "JPY": 201.4}

calls: deque[dict[str, str]] = deque(maxlen=KEPT)
server = MCPServer("lockgate-dev-tools")


@server.tool()
def clock(ctx: Context) -> str:
    """Tell the time in UTC."""
    _note("clock", ctx)
    return datetime.now(UTC).isoformat(timespec="seconds")


@server.tool()
def exchange_rate(currency: str, ctx: Context) -> str:
    """Tell what a pound is worth in a currency."""
    _note("exchange_rate", ctx)
    rate = RATES.get(currency.upper())
    return f"There is no rate for {currency}." if rate is None else f"1 GBP = {rate} {currency.upper()}"


@server.tool()
def contact(company: str, ctx: Context) -> str:
    """Find a company's contact: name, e-mail address, telephone."""
    _note("contact", ctx)
    return CONTACTS.get(company.lower(), f"{company} is not known.")


def _note(tool: str, ctx: Context) -> None:
    headers = ctx.headers or {}
    _log(tool, headers.get("x-lockgate-tenant", ""), headers.get("x-lockgate-agent", ""))


def _log(tool: str, tenant: str, agent: str) -> None:
    call = {"tool": tool, "tenant": tenant, "agent": agent, "at": datetime.now(UTC).isoformat(timespec="milliseconds")}
    calls.append(call)
    print(json.dumps(call), flush=True)


async def weather(request: Request) -> Response:
    """Answer a tool of plain HTTP."""
    asked = await request.json()
    _log("weather", request.headers.get("x-lockgate-tenant", ""), request.headers.get("x-lockgate-agent", ""))
    return JSONResponse({"city": asked.get("city"), "sky": "clear", "celsius": 17})


async def logged(request: Request) -> Response:
    """List what came, or forget it."""
    if request.method == "DELETE":
        calls.clear()
        return Response(status_code=204)
    return JSONResponse({"calls": list(calls)})


def app() -> Starlette:
    """Return the application to serve."""
    tools = server.streamable_http_app(stateless_http=True, json_response=True)
    routes = [
        Route("/calls", logged, methods=["GET", "DELETE"]),
        Route("/http/weather", weather, methods=["POST"]),
        Mount("/", tools),
    ]
    return Starlette(routes=routes, lifespan=lambda _: server.session_manager.run())


async def serve(port: int) -> None:
    """Serve until told to end."""
    running = uvicorn.Server(uvicorn.Config(app(), host=HOST, port=port, log_level="warning"))
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(running.serve())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, setattr, running, "should_exit", True)
    await serving


def main() -> None:
    """Read the port and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
