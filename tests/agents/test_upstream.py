"""Connections to AgentCore: used again where that is safe, dropped where it is not."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.errors import RuntimeBrokenError, RuntimeUnreachableError, StreamInterruptedError
from agents.exchange import UNREAD_LIMIT_BYTES
from agents.upstream import KEEPALIVE_S, Upstream, open_upstream
from tenancy.clock import SystemClock
from tests.agents.upstream import Received, chunk, chunked, hangs, http, says, upstream
from tests.clock import FakeClock

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


async def asked(way: Upstream, body: bytes = b"", *, begin_s: float = 20) -> bytes:
    answer = await way.post(HEAD % len(body), body, begin_s=begin_s, total_s=20)
    try:
        whole = b""
        while part := await answer.part():
            whole += part
        return whole
    finally:
        answer.close()


@asynccontextmanager
async def way_to(url: str, *, clock: FakeClock | None = None) -> AsyncIterator[Upstream]:
    async with open_upstream(url, clock=clock or FakeClock()) as way, asyncio.timeout(20):
        yield way


async def test_requests_at_once_have_a_connection_each_and_later_ones_use_them_again() -> None:
    async with upstream(http(body=1)) as server, way_to(server.url) as way:
        await asyncio.gather(*(asked(way) for _ in range(3)))
        assert server.connections == 3
        await asyncio.gather(*(asked(way) for _ in range(3)))
    assert (server.connections, len(server.received)) == (3, 6)


async def test_a_second_answer_to_one_request_reaches_nobody() -> None:
    async with upstream(http(body=1) + http(body=666), http(body=2)) as server, way_to(server.url) as way:
        assert await asked(way) == b"1"
        assert await asked(way) == b"2"
    assert server.connections == 2


async def test_what_comes_when_nothing_was_asked_reaches_nobody() -> None:
    asked_once, dropped = asyncio.Event(), asyncio.Event()

    async def script(_: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(body=1))
        await asked_once.wait()
        writer.write(http(body=666))
        await reader.read()
        dropped.set()

    async with upstream(script, http(body=2)) as server, way_to(server.url) as way:
        assert await asked(way) == b"1"
        asked_once.set()
        await dropped.wait()
        assert await asked(way) == b"2"
    assert server.connections == 2


async def test_a_kept_connection_whose_end_is_not_noticed_yet_is_not_used() -> None:
    async def once(request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(http(body=1))(request, reader, writer)
        await closing.wait()
        writer.close()
        await writer.wait_closed()
        closed.set()

    closing, closed = asyncio.Event(), asyncio.Event()
    async with upstream(once, http(body=2)) as server, way_to(server.url) as way:
        assert await asked(way) == b"1"
        [kept] = way._idle
        kept.pause()
        closing.set()
        await closed.wait()
        assert list(way._idle) == [kept]
        assert await asked(way) == b"2"
    assert (server.connections, len(server.received)) == (2, 2)


async def test_what_was_sent_on_a_kept_connection_is_not_sent_again() -> None:
    async def hangs_up(_: Received, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with upstream(http(body=1), hangs_up) as server, way_to(server.url) as way:
        await asked(way)
        with pytest.raises(RuntimeBrokenError):
            await asked(way)
    assert (server.connections, len(server.received)) == (1, 2)


async def test_a_connection_is_kept_for_a_while_only(clock: FakeClock) -> None:
    async with upstream(http(body=1)) as server, way_to(server.url, clock=clock) as way:
        await asked(way)
        await clock.advance(KEEPALIVE_S - 1)
        await asked(way)
        assert server.connections == 1
        await clock.advance(KEEPALIVE_S)
        await asked(way)
    assert server.connections == 2


async def test_connections_nobody_needs_are_swept_out(clock: FakeClock) -> None:
    async with upstream(http(body=1)) as server, way_to(server.url, clock=clock) as way:
        await asked(way)
        way._sweep_out()
        assert len(way._idle) == 1
        await clock.advance(KEEPALIVE_S)
        way._sweep_out()
        assert (len(way._idle), way._sweep) == (0, None)


async def test_so_many_connections_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.upstream.IDLE_LIMIT", 2)
    async with upstream(http(body=1)) as server, way_to(server.url) as way:
        await asyncio.gather(*(asked(way) for _ in range(4)))
        while len(way._open) > 2:
            await asyncio.sleep(0)
        assert len(way._idle) == 2


async def test_an_answer_that_comes_before_the_whole_body_was_sent_ends_the_sending() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(413, b""))
        ended.set_result(len(await reader.read()))
        writer.close()

    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    size = 64 * 1024 * 1024
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, way_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as way:
        answer = await way.post(HEAD % size, bytes(size), begin_s=20, total_s=20)
        assert (answer.status, len(way._idle)) == (413, 0)
        assert await ended < size


async def test_a_long_body_arrives_as_it_is() -> None:
    body = bytes(range(256)) * 8192
    async with upstream(http(body=1)) as server, way_to(server.url) as way:
        await asked(way, body)
        await asked(way, body)
    assert [received.body for received in server.received] == [body, body]
    assert server.connections == 1


async def test_an_answer_nobody_reads_stays_where_it_is() -> None:
    size = 16 * 1024 * 1024
    async with upstream(http(body=b"x" * size)) as server, way_to(server.url) as way:
        answer = await way.post(HEAD % 0, b"", begin_s=20, total_s=20)
        while not answer._paused:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert answer._unread_bytes <= 3 * UNREAD_LIMIT_BYTES
        read = 0
        while part := await answer.part():
            read += len(part)
    assert read == size


async def test_leaving_ends_what_is_still_open() -> None:
    async with upstream(chunked() + chunk(b"1")) as server:
        async with way_to(server.url) as way:
            answer = await way.post(HEAD % 0, b"", begin_s=20, total_s=20)
            assert await answer.part() == b"1"
        with pytest.raises(StreamInterruptedError):
            await answer.part()


async def test_a_host_that_takes_no_connection_in_time_is_unreachable() -> None:
    async with upstream(hangs) as server, way_to(server.url.replace("http:", "https:")) as way:
        with pytest.raises(RuntimeUnreachableError):
            await asked(way, begin_s=0.05)


@asynccontextmanager
async def secured(folder: Path, name: x509.GeneralName) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """Serve over TLS with a certificate for `name`; yields the address and the trust in whom it is by."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(private + certificate)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(folder / "both.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            await reader.readuntil(b"\r\n\r\n")
            writer.write(http(body=b"x" * 1_000_000))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=served)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"https://127.0.0.1:{port}", ssl.create_default_context(cadata=certificate.decode())


async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    name = x509.IPAddress(ip_address("127.0.0.1"))
    async with secured(tmp_path, name) as (url, trusting), asyncio.timeout(20):
        async with open_upstream(url, clock=FakeClock(), tls=trusting) as way:
            assert [len(await asked(way)), len(await asked(way)), len(way._open)] == [1_000_000, 1_000_000, 1]
        async with open_upstream(url, clock=FakeClock()) as way:
            with pytest.raises(RuntimeUnreachableError):
                await asked(way)


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    async with (
        secured(tmp_path, x509.DNSName("another.example")) as (url, trusting),
        open_upstream(url, clock=FakeClock(), tls=trusting) as way,
        asyncio.timeout(20),
    ):
        with pytest.raises(RuntimeUnreachableError):
            await asked(way)
