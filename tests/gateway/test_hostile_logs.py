"""What a process writes down while callers who carry a token attack it: its own words, nothing else."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from ops.devstack.process import spawn, stop
from tests.gateway.hostile import LAST, MARK, Site, gone
from tests.gateway.test_hostile_heads import REFUSED, ROUTED

pytestmark = pytest.mark.stack

TOKEN = b"eyJ" + MARK * 10 + b"." + MARK * 20 + b".c2ln"
BEARER = b"Authorization: Bearer " + TOKEN + b"\r\n"
HEAD = b" HTTP/1.1\r\nHost: a\r\n" + BEARER
CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"POST /body" + HEAD + CHUNKED
FAILURES = {
    "an internal error that quotes the token": b"GET /fail" + HEAD + b"\r\n",
    "a token beyond a header's size": b"GET /hello" + HEAD + b"X-Token: " + TOKEN * 200 + b"\r\n\r\n",
    "a token in the request line": b"GET /?access_token=" + TOKEN + b"&access_token=" + TOKEN + HEAD + b"\r\n",
    "a token as the request line": TOKEN + b"\r\n\r\n",
    "a token as a header's name": b"GET /hello" + HEAD + TOKEN + b"(: x\r\n\r\n",
    "a token as a request id": b"GET /nowhere" + HEAD + b"X-Request-Id: " + TOKEN * 9 + b"\r\n\r\n",
    "a token in a trace": b"GET /nowhere" + HEAD + b"traceparent: " + TOKEN + b"\r\ntracestate: " + TOKEN + b"\r\n\r\n",
    "a token in a body": b"POST /body" + HEAD + b"Content-Type: x/y\r\nContent-Length: 400\r\n\r\n" + TOKEN,
    "a token in a chunk's size": CHUNKS + TOKEN + b"\r\n",
    "a token in a chunk": CHUNKS + b"5\r\n" + TOKEN,
    "half a head": b"GET /hello" + HEAD,
    "half a body": b"POST /body" + HEAD + b"Content-Type: application/json\r\nContent-Length: 900\r\n\r\n" + TOKEN,
    "escape sequences and line ends": b"GET /%1b%5b31m%0d%0a%e2%80%a8" + HEAD + b"User-Agent: \xe2\x80\xa8\r\n\r\n",
}


def port_of(log: Path) -> int | None:
    """Return the port a process says it serves on, once it does."""
    first, written, _ = log.read_bytes().partition(b"\n")
    return int(orjson.loads(first)["port"]) if written else None


@asynccontextmanager
async def process(log: Path) -> AsyncIterator[Site]:
    running = await spawn([sys.executable, "-m", "tests.gateway.hostile_process"], env={}, log=log)
    async with asyncio.timeout(30):
        while (port := port_of(log)) is None:
            await asyncio.sleep(0.02)
    try:
        yield Site(port=port)
    finally:
        await stop(running)
        assert running.returncode == 0


async def test_neither_tokens_nor_other_words_of_attackers_are_written_down(tmp_path: Path) -> None:
    log = tmp_path / "log"
    whole = [*FAILURES.values(), *(attack + LAST for attack, _, _ in REFUSED.values())]
    whole += [line + HEAD + b"\r\n" + LAST for line, _, _ in ROUTED.values()]
    broken = [(CHUNKS, TOKEN + b"\r\n"), (CHUNKS, b"5\r\n" + TOKEN), (CHUNKS + b"5\r\n" + TOKEN[:5], TOKEN)]
    said: list[tuple[bytes, ...]] = [*((attack,) for attack in whole), *broken]
    async with process(log) as server:
        for attack in said:
            reader, writer = await server.connect()
            for part in attack[:-1]:
                writer.write(part)
                await server.arrived()
            writer.write(attack[-1])
            assert await reader.read(9) == b"HTTP/1.1 "
            await gone(writer)
    text = log.read_text()
    lines = [orjson.loads(line) for line in text.splitlines()]
    assert len(lines) > len(said)
    assert {line["event"] for line in lines} == {"serving", "request", "refused", "request failed"}
    assert [line["exception"].splitlines()[-1] for line in lines if line["level"] == "error"] == [
        "RuntimeError: (secret)"
    ]
    assert MARK.decode() not in text
    assert [line for line in text.splitlines() if not line.isprintable()] == []
