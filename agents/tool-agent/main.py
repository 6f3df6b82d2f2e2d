"""tool-agent: does nothing but use tools, on behalf of the tenant it works for, with the public MCP client."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from lockgate_kit import Agent, Job, Turn

# Longer than any tool of the local stack may take.
TIMEOUT_S = 30.0

agent = Agent()
app = agent.app


@agent.sync
async def answer(payload: object, turn: Turn) -> dict[str, Any]:
    """List the tools, or call one: `{"tool": name, "arguments": {…}}`."""
    return await use(parse(payload), turn)


@agent.stream
async def stream(payload: object, turn: Turn) -> AsyncGenerator[dict[str, Any], None]:
    """Tell of the tools, then of the call."""
    wanted = parse(payload)
    yield await use(Wanted(), turn)
    if wanted.tool is not None:
        yield await use(wanted, turn)


@agent.job
async def work(payload: object, job: Job) -> dict[str, Any]:
    """Do the same as a job."""
    job.progress(0, "calling")
    result = await use(parse(payload), job)
    job.progress(100, "done")
    return result


class InputError(ValueError):
    """The input is not one for this agent; the message says what is wrong."""


class NoToolsError(RuntimeError):
    """Nobody gave this turn a way to the tools."""


@dataclass(frozen=True)
class Wanted:
    """A checked input; without a tool the tools are listed."""

    tool: str | None = None
    arguments: dict[str, Any] | None = None


def parse(payload: object) -> Wanted:
    """Read an input; raises InputError."""
    if not isinstance(payload, dict):
        raise InputError('the input must be an object such as {"tool": "clock"}')
    tool, arguments = payload.get("tool"), payload.get("arguments")
    if not isinstance(tool, str | None) or not isinstance(arguments, dict | None):
        raise InputError("tool must be a text and arguments an object")
    return Wanted(tool, arguments)


async def use(wanted: Wanted, turn: Turn) -> dict[str, Any]:
    """Do what is wanted at the door; a refusal is an answer too."""
    async with connected(turn) as client:
        if wanted.tool is None:
            return {"tools": [tool.name for tool in (await client.list_tools()).tools]}
        try:
            result = await client.call_tool(wanted.tool, wanted.arguments or {})
        except MCPError as refused:
            return {"tool": wanted.tool, "refused": refused.error.message, "code": refused.error.code}
        texts = [block.text for block in result.content if block.type == "text"]
        return {"tool": wanted.tool, "text": "\n".join(texts), "failed": result.is_error}


@asynccontextmanager
async def connected(turn: Turn) -> AsyncIterator[Client]:
    """Connect to the tools' door with the turn's own token."""
    if turn.tools is None:
        raise NoToolsError("this turn was given no tool token")
    async with (
        httpx2.AsyncClient(headers=turn.tools.headers(), timeout=TIMEOUT_S) as http,
        Client(streamable_http_client(turn.tools.url, http_client=http)) as client,
    ):
        yield client


if __name__ == "__main__":
    agent.run()
