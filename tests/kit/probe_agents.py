"""Agents that do what an ordinary one should not, served side by side by one process of the agents' environment."""

import asyncio
import re
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator
from pathlib import Path
from runpy import run_path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from lockgate_kit import Agent, Job, Turn

happened: defaultdict[str, threading.Event] = defaultdict(threading.Event)
counted: defaultdict[str, int] = defaultdict(int)

ROOT = Path(__file__).parents[2]
NAMES = ("control", "probe", "blocker", "plain", "coroutine", "coroutine-quick", "stream-only")


def control(payload: dict[str, str]) -> object:
    """Let the test make something happen, wait for it, or count it: a plain function, so nothing holds it up."""
    match payload:
        case {"happen": name}:
            happened[name].set()
            return name
        case {"await": name}:
            return happened[name].wait(10)
        case {"count": name}:
            return counted[name]
        case _:
            return payload


async def _until(name: str) -> None:
    await asyncio.to_thread(happened[name].wait, 10)


async def _numbers(name: str) -> AsyncGenerator[int, None]:
    for number in range(2, 100):
        yield number
    await _until(name + ".go")
    for number in range(100, 200):
        yield number


async def stream(payload: dict[str, str], turn: Turn) -> AsyncGenerator[object, None]:
    """Yield, then do as asked; tells of its end."""
    try:
        yield {"ref": turn.ref, "session": turn.session_id}
        match payload["do"]:
            case "idle":
                await asyncio.Event().wait()
            case "flood":
                while True:
                    counted[payload["name"]] += 1
                    yield "x" * 65536
            case "numbers":
                async for number in _numbers(payload["name"]):
                    yield number
            case "large":
                for _ in range(100):
                    yield "x" * 65536
            case "exit":
                sys.exit("bye")
            case "nan":
                yield float("nan")
    finally:
        happened[payload["name"]].set()


async def job(payload: dict[str, str], job: Job) -> object:
    """Count the run, report, then do as asked; tells of its end."""
    name = payload["name"]
    counted[name] += 1
    job.progress(250, "m" * 2000)
    job.usage(input_tokens=2, output_tokens=3)
    job.usage(output_tokens=4)
    try:
        match payload["do"]:
            case "wait":
                await _until(name + ".go")
            case "idle":
                await asyncio.Event().wait()
            case "block":
                happened[name].set()
                happened[name + ".go"].wait(10)
            case "raise":
                raise LookupError("e" * 2000)
            case "nan":
                return float("nan")
            case "exit":
                sys.exit("bye")
    finally:
        happened[name + ".end"].set()
    return {"name": name, "exact": 123456789012345678901234567890, "float": 1e2}


def plain(payload: dict[str, str], turn: Turn) -> object:
    """Block its thread until asked to stop."""
    happened[payload["name"]].set()
    while not turn.stopping:
        happened[payload["name"] + ".never"].wait(0.01)
    raise InterruptedError


async def coroutine(payload: dict[str, str]) -> object:
    """Wait without end."""
    happened[payload["name"]].set()
    await asyncio.Event().wait()


async def quick(payload: object) -> object:
    """Give the input back, from the loop."""
    return payload


def documented() -> Agent:
    """Return the agent that docs/AGENTS.md shows, its models and sources made up."""
    page = (ROOT / "docs/AGENTS.md").read_text()
    [code] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)

    async def think(prompt: str) -> str:
        return prompt.upper()

    async def model(prompt: str) -> AsyncGenerator[str, None]:
        for word in prompt.split():
            yield word

    async def read(source: str) -> None:
        counted[source] += 1

    names: dict[str, object] = {"__name__": "documented", "think": think, "model": model, "read": read}
    exec(code, names)  # noqa: S102 - the page's own code
    agent = names["agent"]
    assert isinstance(agent, Agent)
    return agent


def serve(port: int) -> None:
    """Serve each agent under its own path, echo-agent among them."""
    agents = {name: Agent() for name in NAMES}
    agents["control"].sync(control)
    agents["probe"].stream(stream)
    agents["probe"].sync(control)
    agents["probe"].job(job)
    agents["plain"].sync(plain)
    agents["coroutine"].sync(coroutine)
    agents["coroutine-quick"].sync(quick)
    agents["blocker"].job(job)
    agents["stream-only"].stream(stream)
    agents["echo"] = run_path(str(ROOT / "agents/echo-agent/main.py"))["agent"]
    agents["documented"] = documented()
    routes = [Mount("/" + name, agent.app) for name, agent in agents.items()]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    serve(int(sys.argv[1]))
