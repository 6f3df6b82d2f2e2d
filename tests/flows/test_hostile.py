"""The whole gateway as an attacker finds it: bytes on a socket, and a tenant beside it that must not notice."""

import asyncio
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession
from yarl import URL

from ops.devstack.stack import Stack
from tenancy.ids import TenantId
from tests.flows.conftest import ECHO, Caller
from tests.gateway.hostile import Answer, Site, answers, everything, gone

pytestmark = pytest.mark.stack

ME = b"GET /v1/me HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
INVOKE = f"POST {ECHO} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()
EXPECTS = b"Expect: 100-continue\r\n"


@pytest.fixture
def bearer(stack: Stack) -> bytes:
    return f"Authorization: Bearer {stack.tenants[TenantId('acme')].token}\r\n".encode()


@pytest.fixture
def gateway(stack: Stack) -> Site:
    return Site(port=URL(stack.gateway).port or 0)


async def one(gateway: Site, said: bytes) -> Answer:
    (answer,) = await gateway.say(said)
    return answer


Said = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (lambda _: INVOKE + EXPECTS + b"Content-Length: 9999999\r\n\r\n", 401, "token_missing"),
        (lambda bearer: INVOKE + bearer + EXPECTS + b"Content-Length: 9999999\r\n\r\n", 413, "body_too_large"),
        (lambda bearer: INVOKE + bearer + b"Connection: close\r\n\r\n", 411, "length_required"),
        (
            lambda bearer: INVOKE + bearer + b"Content-Encoding: gzip\r\nContent-Length: 99999\r\n\r\n",
            415,
            "content_encoding_unsupported",
        ),
        (
            lambda bearer: INVOKE + bearer + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + ME,
            400,
            "bad_request",
        ),
        (
            lambda bearer: b"GET /v1/me HTTP/1.1\r\nHost: a\r\n" + bearer[:-2] * 40 + b"\r\n\r\n",
            431,
            "headers_too_large",
        ),
        (lambda bearer: b"GET /v1/me?" + bearer * 9 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
    ],
    ids=["stranger", "size", "length", "packed", "smuggled", "header", "target"],
)
async def test_an_attack_gets_one_problem(
    gateway: Site, stack: Stack, bearer: bytes, said: Said, status: int, code: str
) -> None:
    answer = await one(gateway, said(bearer))
    assert (answer.status, answer.code) == (status, code)
    token = bearer.split()[2].decode()
    assert token.encode() not in answer.body
    assert token not in stack.layout.log("gateway").read_text()


async def test_a_body_is_asked_for_once_its_sender_may_send_it(gateway: Site, bearer: bytes) -> None:
    body = orjson.dumps({"input": {"prompt": "asked for"}})
    reader, writer = await gateway.connect()
    writer.write(INVOKE + bearer + EXPECTS + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    (answer,) = answers(await everything(reader))
    assert (answer.status, orjson.loads(answer.body)) == (200, {"echo": "asked for"})
    await gone(writer)


async def test_senders_that_dribble_are_told_and_closed(gateway: Site, acme: Caller) -> None:
    reader, writer = await gateway.connect()
    writer.write(b"GET /v1/me HTTP/1.1\r\nHost: a\r\n")

    async def dribble() -> None:
        while True:
            await asyncio.sleep(0.5)
            writer.write(b"X: y\r\n")

    dribbling = asyncio.create_task(dribble())
    async with asyncio.timeout(15):
        received = await reader.read()
    dribbling.cancel()
    (answer,) = answers(received)
    assert (answer.status, answer.code) == (408, "request_timeout")
    await gone(writer)
    assert (await acme.get("/v1/me"))[0] == 200


async def test_a_slow_reader_of_a_fast_stream_leaves_memory_flat_and_others_alone(
    stack: Stack, gateway: Site, bearer: bytes, globex: Caller
) -> None:
    before = resident_bytes(stack)
    body = orjson.dumps({"input": {"prompt": "x", "chunks": 4_000, "chunkBytes": 100_000}})
    head = INVOKE + bearer + b"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", gateway.port))
    slow.sendall(head + body)
    slow.settimeout(10)
    assert (await asyncio.to_thread(slow.recv, 12)) == b"HTTP/1.1 200"
    for _ in range(5):
        answer, said = await globex.post(ECHO, globex.echo())
        assert (answer.status, said) == (200, {"echo": "one two three"})
    assert resident_bytes(stack) - before < 40_000_000
    slow.close()
    # The agent's 400 MB went nowhere: the caller's leaving freed the slot.
    async with ClientSession() as session, asyncio.timeout(15):
        while "lockgate_invocations_in_flight 0.0" not in await text_of(session, stack.private + "/metrics"):
            await asyncio.sleep(0.05)


async def text_of(session: ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        return await answer.text()


def resident_bytes(stack: Stack) -> int:
    """Return how much memory the gateway takes."""
    pages = Path(f"/proc/{stack.parts.pids['gateway']}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
