"""Attempts against receivers that are hostile: each ends in bounded time, memory and words."""

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from ops.devstack.process import free_port
from tenancy.clock import SystemClock
from tests.webhooks.conftest import found
from tests.webhooks.receivers import Misbehave, Receiver, misbehaving, receiving
from webhooks.lookup import AddressRefusedError, Lookup, Resolve
from webhooks.sender import HEAD_LIMIT_BYTES, READ_LIMIT_BYTES, Outcome, Result, Sender, _Guard
from webhooks.urls import UrlRules

BODY = b'{"type":"job.succeeded"}'
# Long enough for what is to end by itself, short enough to wait for what is not.
SOON_S = 0.4
# No matter how busy the machine is.
AMPLE_S = 30.0
COULD_NOT_CONNECT = "The endpoint could not be connected to."


async def nowhere(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    raise socket.gaierror(socket.EAI_NONAME, "no such name")


def sender(
    *ports: int,
    resolve: Resolve = nowhere,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    deadline_s: float = SOON_S,
) -> Sender:
    rules = UrlRules(frozenset((host, port) for port in ports))
    return Sender(rules, resolve, clock=SystemClock(), tls=tls, deadline_s=deadline_s)


async def send_to(misbehave: Misbehave, *, deadline_s: float = SOON_S) -> Outcome:
    async with misbehaving(misbehave) as rogue:
        return await sender(rogue.port, deadline_s=deadline_s)(rogue.url, {}, BODY)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


async def test_a_body_arrives_byte_for_byte_with_its_headers_and_nothing_of_ours(receiver: Receiver) -> None:
    outcome = await sender(receiver.port)(receiver.url + "?k=v", {"webhook-id": "evt_1"}, BODY)
    [got] = receiver.got
    assert (outcome.result, outcome.status, outcome.error, outcome.delivered) == (Result.DELIVERED, 204, None, True)
    assert (got.path, got.body) == ("/in?k=v", BODY)
    assert got.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "user-agent": "Lockgate-Webhooks/1",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
        "webhook-id": "evt_1",
    }


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.DELIVERED),
        (202, Result.DELIVERED),
        (299, Result.DELIVERED),
        (400, Result.REFUSED),
        (401, Result.REFUSED),
        (404, Result.REFUSED),
        (410, Result.GONE),
        (429, Result.THROTTLED),
        (500, Result.REFUSED),
        (502, Result.THROTTLED),
        (503, Result.REFUSED),
        (504, Result.THROTTLED),
    ],
)
async def test_only_a_status_from_200_to_299_is_a_delivery(receiver: Receiver, status: int, result: Result) -> None:
    receiver.answers = [(status, {"Retry-After": "7"}, b"said")]
    outcome = await sender(receiver.port)(receiver.url, {}, BODY)
    told = (outcome.result, outcome.status, outcome.answer_head, outcome.retry_after)
    assert told == (result, status, "said", "7")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(receiver: Receiver, status: int) -> None:
    async with receiving() as target:
        receiver.answers = [(status, {"Location": target.url}, b"")]
        outcome = await sender(receiver.port, target.port)(receiver.url, {}, BODY)
        assert target.got == []
    assert (outcome.result, outcome.status, outcome.delivered) == (Result.REDIRECTED, status, False)
    assert outcome.error == "The endpoint answered with a redirect, which is not followed."


async def test_only_the_beginning_of_an_answer_is_kept_and_never_breaks_on_a_character(receiver: Receiver) -> None:
    receiver.answers = [(500, {}, b"\xff\x00" + "é".encode() * 2_000)]
    outcome = await sender(receiver.port)(receiver.url, {}, BODY)
    assert outcome.answer_head is not None
    assert outcome.answer_head.startswith("\ufffd\x00é")
    assert len(outcome.answer_head) <= HEAD_LIMIT_BYTES


async def test_cookies_are_not_kept(receiver: Receiver) -> None:
    receiver.answers = [(200, {"Set-Cookie": "session=abc; Path=/"}, b"")]
    one = sender(receiver.port)
    for _ in range(2):
        await one(receiver.url, {}, BODY)
    assert [got.headers.get("cookie") for got in receiver.got] == [None, None]


async def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await sender(receiver.port, deadline_s=AMPLE_S)(receiver.url, {}, BODY)).delivered


async def test_no_password_of_the_machine_is_sent(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password word\n")
    monkeypatch.setenv("NETRC", str(netrc))
    await sender(receiver.port)(receiver.url, {}, BODY)
    assert "authorization" not in receiver.got[0].headers


async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.get_running_loop().create_future()


async def hang_after_the_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    await hang(_, writer)


async def drip_the_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_the_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def go_on_continuing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("misbehave", [hang, hang_after_the_head, drip_the_body, drip_the_head, go_on_continuing])
async def test_whatever_takes_too_long_ends_at_the_deadline(misbehave: Misbehave) -> None:
    outcome = await send_to(misbehave)
    assert (outcome.result, outcome.delivered) == (Result.TIMED_OUT, False)
    assert outcome.error == "The endpoint did not answer completely within 0.4 s."
    assert outcome.duration_s >= SOON_S


async def test_the_status_of_an_answer_that_never_ends_is_told() -> None:
    outcome = await send_to(hang_after_the_head)
    assert (outcome.status, outcome.answer_head) == (200, "ab")


async def test_an_endless_body_is_read_up_to_a_limit_and_then_left() -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"." * 65_536)
            await writer.drain()
            sent += 65_536

    outcome = await send_to(flood)
    assert (outcome.result, outcome.answer_head) == (Result.DELIVERED, "." * HEAD_LIMIT_BYTES)
    # What the kernels hold between the two, and no more.
    assert sent < 16 * 1024 * 1024


async def test_a_packed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b"\0" * 50_000_000)

    async def bomb(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed))
        writer.write(packed)
        await writer.drain()

    outcome = await send_to(bomb, deadline_s=AMPLE_S)
    assert outcome.delivered
    assert outcome.answer_head == packed[:HEAD_LIMIT_BYTES].decode("utf-8", "replace")
    assert len(packed) > READ_LIMIT_BYTES


async def huge_heads(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(300):
        writer.write(b"X-%d: %s\r\n" % (number, b"x" * 8_000))
        await writer.drain()
    writer.write(b"Content-Length: 0\r\n\r\n")
    await writer.drain()


async def one_endless_header(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def reset_after_the_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    await writer.drain()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def hang_up_early(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    await writer.drain()


async def speak_no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 smtp.example.com ESMTP\r\n")
    await writer.drain()


async def send_a_broken_chunk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    "misbehave",
    [
        huge_heads,
        one_endless_header,
        reset_after_the_head,
        hang_up,
        hang_up_early,
        speak_no_http,
        send_a_broken_chunk,
    ],
)
async def test_an_answer_that_breaks_off_or_is_no_http_is_a_failure(misbehave: Misbehave) -> None:
    outcome = await send_to(misbehave)
    assert (outcome.result, outcome.delivered) == (Result.BROKEN, False)
    assert outcome.error == "The answer broke off or was not valid HTTP."


async def test_a_connection_is_not_kept_for_the_next_attempt() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        assert await _.read() == b""

    async with misbehaving(answer) as rogue:
        one = sender(rogue.port, deadline_s=AMPLE_S)
        for _ in range(2):
            assert (await one(rogue.url, {}, BODY)).delivered
        assert rogue.connections == 2


def resolves_to(*addresses: str) -> Resolve:
    async def resolve(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        return [found(host, address, port) for address in addresses]

    return resolve


async def test_a_closed_port_a_refused_address_and_an_unknown_name_read_the_same(receiver: Receiver) -> None:
    closed, name = free_port(), "https://hooks.example.com:8443/"
    outcomes = [
        await sender(closed)(f"http://127.0.0.1:{closed}/", {}, BODY),
        await sender(resolve=nowhere)(name, {}, BODY),
        await sender(resolve=resolves_to("127.0.0.1"))(name, {}, BODY),
        await sender(resolve=resolves_to("93.184.216.34", "10.0.0.1"))(name, {}, BODY),
        await sender(resolve=resolves_to("::ffff:169.254.169.254"))(name, {}, BODY),
        await sender()(receiver.url, {}, BODY),
        await sender()("https://127.0.0.1:8443/", {}, BODY),
        await sender()("https://2130706433/", {}, BODY),
    ]
    told = {(outcome.result, outcome.status, outcome.error, outcome.answer_head) for outcome in outcomes}
    assert told == {(Result.UNREACHABLE, None, COULD_NOT_CONNECT, None)}
    assert receiver.got == []


async def test_a_name_that_turns_private_after_it_was_looked_at_reaches_nothing(receiver: Receiver) -> None:
    answers = ["93.184.216.34", "127.0.0.1"]

    async def rebinds(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        return [found(host, answers.pop(0), port)]

    one = sender(resolve=rebinds)
    first = await rebinds("hooks.example.com", 443, socket.AF_INET)
    assert first[0]["host"] == "93.184.216.34"
    assert (await one("https://hooks.example.com/", {}, BODY)).result is Result.UNREACHABLE
    assert answers == []


class NoRules(UrlRules):
    """Lets every URL pass, so that only the guard is left."""

    def parse(self, text: str) -> URL:
        return URL(text)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104 - an address to send to, none to bind
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "0x7f.1",
    ],
)
async def test_the_guard_alone_lets_no_disguise_of_this_machine_pass(receiver: Receiver, host: str) -> None:
    lookup = Lookup()
    alone = Sender(NoRules(), lookup, clock=SystemClock(), deadline_s=SOON_S)
    outcome = await alone(f"http://{host}:{receiver.port}/in", {}, BODY)
    lookup.close()
    assert (outcome.result, outcome.error, receiver.got) == (Result.UNREACHABLE, COULD_NOT_CONNECT, [])


@pytest.mark.parametrize(
    ("address", "port"),
    [("127.0.0.1", 443), ("169.254.169.254", 443), ("::1", 8443), ("::ffff:10.0.0.1", 443), ("93.184.216.34", 22)],
)
def test_no_socket_is_made_for_what_is_not_public(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(AddressRefusedError):
        _Guard(nowhere, exempt=False).make_socket((family, socket.SOCK_STREAM, 6, "", (address, port)))


@pytest.mark.parametrize("addresses", [("10.0.0.1",), ("93.184.216.34", "10.0.0.1"), ("::1", "93.184.216.34")])
async def test_a_name_with_any_address_that_is_not_public_is_dialled_nowhere(addresses: tuple[str, ...]) -> None:
    resolve = resolves_to(*addresses)
    with pytest.raises(AddressRefusedError):
        await _Guard(resolve, exempt=False).resolve("hooks.example.com", 443)
    assert await _Guard(resolve, exempt=True).resolve("hooks.example.com", 443) == await resolve(
        "hooks.example.com", 443, socket.AF_UNSPEC
    )


def test_a_socket_is_made_for_what_is_public() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))
    _Guard(nowhere, exempt=False).make_socket(info).close()


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.certificate = self._sign(self._key, self._name, days=1, extension=x509.BasicConstraints(True, None))

    def trusted(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority alone."""
        return ssl.create_default_context(cadata=self.certificate.public_bytes(serialization.Encoding.PEM).decode())

    def served(self, host: str, days: int = 1) -> ssl.SSLContext:
        """Return a server's context with a certificate for a host, which expires in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key, x509.Name([]), days, x509.SubjectAlternativeName([x509.DNSName(host)]))
        path = self._folder / "certificate.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(
        self, key: ec.EllipticCurvePrivateKey, name: x509.Name, days: int, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        dated = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))
        return dated.add_extension(extension, critical=True).sign(self._key, hashes.SHA256())


@pytest.mark.parametrize(
    ("host", "days", "trusts", "told"),
    [
        ("localhost", 1, True, (Result.DELIVERED, None)),
        ("localhost", -1, True, (Result.UNREACHABLE, "The TLS handshake with the endpoint failed.")),
        ("other.example.com", 1, True, (Result.UNREACHABLE, "The TLS handshake with the endpoint failed.")),
        ("localhost", 1, False, (Result.UNREACHABLE, "The TLS handshake with the endpoint failed.")),
    ],
)
async def test_only_a_certificate_that_is_valid_trusted_and_the_hosts_own_is_taken(
    tmp_path: Path, host: str, days: int, told: tuple[Result, str | None], *, trusts: bool
) -> None:
    authority, port = Authority(tmp_path), free_port()

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=authority.served(host, days)).start()
    one = sender(port, resolve=resolves_to("127.0.0.1"), tls=authority.trusted() if trusts else None, host="localhost")
    outcome = await one(f"https://localhost:{port}/", {}, BODY)
    await runner.cleanup()
    assert (outcome.result, outcome.error) == told


async def test_plain_http_on_a_port_of_tls_is_a_failed_handshake(receiver: Receiver) -> None:
    outcome = await sender(receiver.port)(receiver.url.replace("http:", "https:"), {}, BODY)
    assert (outcome.result, outcome.error) == (Result.UNREACHABLE, "The TLS handshake with the endpoint failed.")
