"""Request heads as attackers write them: each gets one precise problem, or is served as it stands; nothing in between.

After each attack comes one more, proper request. A server that could be led to see two requests in one would answer
once too often; one that has lost its place answers it wrongly.
"""

from collections.abc import AsyncIterator

import pytest

from tests.gateway.hostile import LAST, MARK, ORIGIN, Site, site

HOST = b"Host: a\r\n"
POST = b"POST /body HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
GET = b"GET /hello HTTP/1.1\r\n" + HOST
END = b"\r\n"
SMUGGLED = b"GET /hello HTTP/1.1\r\nHost: smuggled\r\n\r\n"

MALFORMED = {
    "HTTP/0.9": b"GET /hello\r\n\r\n",
    "HTTP/1.2": b"GET /hello HTTP/1.2\r\n" + HOST + END,
    "HTTP/2.0": b"GET /hello HTTP/2.0\r\n" + HOST + END,
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another protocol": b"GET /hello RTSP/9.0\r\n" + HOST + END,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "noise": b"\x00\xff\x00" + MARK + b"\r\n\r\n",
    "a method in lower case": b"get /hello HTTP/1.1\r\n" + HOST + END,
    "a method nobody knows": MARK.upper() + b" /hello HTTP/1.1\r\n" + HOST + END,
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\n" + HOST + END,
    "no Host": b"GET /hello HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: b\r\n\r\n",
    "a Host that is none": b"GET /hello HTTP/1.1\r\nHost: a b@" + MARK + b"/\r\n\r\n",
    "bare LF": b"GET /hello HTTP/1.1\nHost: a\n\n",
    "bare LF after a header": GET + b"X: " + MARK + b"\nY: z\r\n\r\n",
    "bare CR in a header": GET + b"X: " + MARK + b"\rY: z\r\n\r\n",
    "NUL in a header": GET + b"X: " + MARK + b"\x00\r\n\r\n",
    "an escape sequence in a header": GET + b"X: \x1b[31m" + MARK + b"\r\n\r\n",
    "NUL in the target": b"GET /" + MARK + b"\x00 HTTP/1.1\r\n" + HOST + END,
    "bytes beyond ASCII in the target": b"GET /" + MARK + b"\xff\xfe HTTP/1.1\r\n" + HOST + END,
    "a space in the target": b"GET /a " + MARK + b" HTTP/1.1\r\n" + HOST + END,
    "a target of no form": b"GET " + MARK + b" HTTP/1.1\r\n" + HOST + END,
    "an absolute target without a host": b"GET http:///" + MARK + b" HTTP/1.1\r\n" + HOST + END,
    "an absolute target with a bad port": b"GET http://a:99999999/ HTTP/1.1\r\n" + HOST + END,
    "an absolute target with half an address": b"GET http://[::1/ HTTP/1.1\r\n" + HOST + END,
    "a folded header": GET + b"X: a\r\n " + MARK + b"\r\n\r\n",
    "a space before the colon": GET + b"Content-Length : 5\r\n\r\n",
    "a header name that is none": GET + b"X(" + MARK + b": a\r\n\r\n",
    "a header without a colon": GET + MARK + b"\r\n\r\n",
    "a header without a name": GET + b": " + MARK + b"\r\n\r\n",
    "Content-Length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and Content-Length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "Content-Length twice": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1",
    "two Content-Lengths": POST + b"Content-Length: 1\r\nContent-Length: 60\r\n\r\n1" + SMUGGLED,
    "a list of Content-Lengths": POST + b"Content-Length: 1, 1\r\n\r\n1",
    "a negative Content-Length": POST + b"Content-Length: -1\r\n\r\n1",
    "a signed Content-Length": POST + b"Content-Length: +1\r\n\r\n1",
    "a Content-Length in hex": POST + b"Content-Length: 0x1\r\n\r\n1",
    "a Content-Length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n1234567890",
    "an empty Content-Length": POST + b"Content-Length: \r\n\r\n1",
    "a Content-Length that overflows": POST + b"Content-Length: 99999999999999999999\r\n\r\n1",
    "a transfer coding alone": POST + b"Transfer-Encoding: gzip\r\n\r\n1",
    "a transfer coding under the chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a transfer coding over the chunks": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "no transfer coding, by name": POST + b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\n1",
    "nearly chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked behind a tabulator": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /body HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk's size that is none": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n1\r\n0\r\n\r\n",
    "a chunk's size that overflows": POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n1\r\n0\r\n\r\n",
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n1\r\n0\r\n\r\n",
    "a chunk longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n11\r\n0\r\n\r\n",
    "chunks in bare LF": POST + b"Transfer-Encoding: chunked\r\n\r\n1\n1\n0\n\n",
    "Content-Length in a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\nContent-Length: 7\r\n\r\n",
    "an old WebSocket": GET + b"Sec-WebSocket-Key1: " + MARK + b"\r\n\r\n",
}
OTHERWISE = {
    "a target beyond 8 KiB": (b"GET /" + MARK * 2_000 + b" HTTP/1.1\r\n" + HOST + END, 414, "target_too_long"),
    "a header beyond 16 KiB": (GET + b"Authorization: Bearer " + MARK * 4_000 + END + END, 431, "headers_too_large"),
    "a header's name beyond 16 KiB": (GET + MARK * 4_000 + b": x\r\n\r\n", 431, "headers_too_large"),
    "headers without number": (GET + b"X: y\r\n" * 200 + END, 431, "headers_too_large"),
    "headers beyond 64 KiB": (GET + (b"X: " + b"y" * 10_000 + END) * 7 + END, 431, "headers_too_large"),
    "trailers without number": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n" + b"X: y\r\n" * 1000 + END,
        431,
        "headers_too_large",
    ),
    "empty lines without end": (b"\r\n" * 400_000, 431, "headers_too_large"),
    "a body of eighteen exabytes": (POST + b"Content-Length: 18446744073709551615\r\n\r\n1", 413, "body_too_large"),
    "a body of eighteen exabytes nobody reads": (
        GET + b"Content-Length: 18446744073709551615\r\n\r\n" + SMUGGLED,
        413,
        "body_too_large",
    ),
    "an expectation nobody knows": (
        POST + b"Expect: " + MARK + b"\r\nContent-Length: 1\r\n\r\n1",
        417,
        "expectation_failed",
    ),
}  # fmt: skip
REFUSED = {name: (said, 400, "bad_request") for name, said in MALFORMED.items()} | OTHERWISE


@pytest.fixture
async def server() -> AsyncIterator[Site]:
    async with site() as running:
        yield running


@pytest.mark.parametrize(("said", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_a_hostile_head_gets_one_problem_and_the_connection_closes(
    server: Site, said: bytes, status: int, code: str
) -> None:
    (answer,) = await server.say(said + LAST)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["connection"] == "close"
    assert (answer.headers["server"], answer.headers["x-content-type-options"]) == ("lockgate", "nosniff")
    assert MARK not in answer.body
    assert MARK.decode() not in str(answer.headers)


@pytest.mark.parametrize(("said", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_a_hostile_head_in_pieces_is_refused_the_same(server: Site, said: bytes, status: int, code: str) -> None:
    cut = len(said) // 2
    (answer,) = await server.say(said[:cut], said[cut:] + LAST)
    assert (answer.status, answer.code) == (status, code)


SERVED = {
    "empty lines before": (b"\r\n\r\n" + GET + END, 2),
    "an absolute target of another host": (b"GET http://evil.example/hello HTTP/1.1\r\n" + HOST + END, 2),
    "a fragment": (b"GET /hello#" + MARK + b" HTTP/1.1\r\n" + HOST + END, 2),
    "an IPv6 host": (b"GET /hello HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 2),
    "an unread body": (GET + b"Content-Length: 5\r\n\r\n12345", 2),
    "bytes beyond ASCII in headers": (
        GET + b"X-Request-Id: \xff\r\ntraceparent: \xff\r\nOrigin: \xff\r\nAuthorization: \xff\r\nAccept: \xff\r\n\r\n",
        2,
    ),
    "pipelined": (GET + END + GET + END, 3),
    "HTTP/2 offered": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n" + SMUGGLED,
        1,
    ),
    "a WebSocket asked for": (
        GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + SMUGGLED,
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "count"), SERVED.values(), ids=SERVED)
async def test_what_is_odd_but_clear_is_served(server: Site, said: bytes, count: int) -> None:
    found = await server.say(said + LAST)
    assert [(answer.status, answer.body) for answer in found] == [(200, b"hello")] * count


async def test_http_1_0_is_served_once_without_a_host(server: Site) -> None:
    (answer,) = await server.say(b"GET /hello HTTP/1.0\r\n\r\n")
    assert (answer.status, answer.body, answer.headers["server"]) == (200, b"hello", "lockgate")


ROUTED = {
    "an unknown path": (b"GET /" + MARK, 404, "not_found"),
    "two slashes": (b"GET //hello", 404, "not_found"),
    "another host by two slashes": (b"GET //evil.example/hello", 404, "not_found"),
    "a slash, encoded": (b"GET /v1%2fhealth", 404, "not_found"),
    "dots": (b"GET /x/../hello", 404, "not_found"),
    "dots, encoded": (b"GET /x/%2e%2e/hello", 404, "not_found"),
    "an encoding that is none": (b"GET /%zz%f", 404, "not_found"),
    "half a character": (b"GET /%ff", 404, "not_found"),
    "a line break, encoded": (b"GET /%0d%0aX-Injected:%20" + MARK, 404, "not_found"),
    "a separator of lines, encoded": (b"GET /%e2%80%a8" + MARK, 404, "not_found"),
    "the server itself": (b"OPTIONS *", 404, "not_found"),
    "a method of others": (b"PURGE /hello", 405, "method_not_allowed"),
    "TRACE": (b"TRACE /hello", 405, "method_not_allowed"),
    "OPTIONS without a preflight": (b"OPTIONS /hello", 405, "method_not_allowed"),
    "a parameter twice": (b"GET /hello?limit=1&limit=" + MARK, 422, "fields_invalid"),
    "a parameter twice, encoded": (b"GET /hello?limit=1&%6cimit=2", 422, "fields_invalid"),
}


@pytest.mark.parametrize(("line", "status", "code"), ROUTED.values(), ids=ROUTED)
async def test_targets_and_methods_nobody_serves_are_problems(
    server: Site, line: bytes, status: int, code: str
) -> None:
    answer, last = await server.say(line + b" HTTP/1.1\r\n" + HOST + b"X-Secret: " + MARK + b"\r\n\r\n" + LAST)
    assert (answer.status, answer.code, last.body) == (status, code, b"hello")
    assert MARK not in answer.body
    assert MARK.decode() not in str(answer.headers)


async def test_a_refused_method_tells_the_allowed_ones(server: Site) -> None:
    answer, _ = await server.say(b"DELETE /hello HTTP/1.1\r\n" + HOST + END + LAST)
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("target", [b"/hello", b"/nowhere", b"/fail"])
async def test_head_has_headers_only(server: Site, target: bytes) -> None:
    reader, writer = await server.connect()
    writer.write(b"HEAD " + target + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert int(head.lower().partition(b"content-length: ")[2].split()[0]) > 0
    assert body == b""
    writer.close()


async def test_a_preflight_of_a_known_page_alone_is_granted(server: Site) -> None:
    asks = b"OPTIONS /hello HTTP/1.1\r\n" + HOST + b"Access-Control-Request-Method: GET\r\nOrigin: "
    granted, _ = await server.say(asks + ORIGIN.encode() + END + END + LAST)
    assert (granted.status, granted.headers["access-control-allow-origin"]) == (204, ORIGIN)
    refused, _ = await server.say(asks + b"https://" + MARK + END + END + LAST)
    assert (refused.status, "access-control-allow-origin" in refused.headers) == (405, False)


async def test_a_page_can_read_a_refusal_from_below_the_routes(server: Site) -> None:
    said = b"POST /body HTTP/1.1\r\n" + HOST + b"Origin: " + ORIGIN.encode() + b"\r\nExpect: x\r\n\r\n"
    (answer,) = await server.say(said)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "sent", [MARK + b"\t", MARK + b'"', MARK + b" x", b"x" * 200 + MARK, b"\xe2\x80\xa8" + MARK, b"<" + MARK + b">"]
)
async def test_a_request_id_that_is_none_is_replaced(server: Site, sent: bytes) -> None:
    answer, _ = await server.say(b"GET /nowhere HTTP/1.1\r\n" + HOST + b"X-Request-Id: " + sent + END + END + LAST)
    assert answer.headers["x-request-id"].startswith("req_") or sent == MARK + b"\t"
    assert answer.code == "not_found"


async def test_a_request_id_comes_back_even_where_no_route_was_reached(server: Site) -> None:
    (answer,) = await server.say(b"POST /body HTTP/1.1\r\n" + HOST + b"X-Request-Id: mine-1\r\nExpect: x\r\n\r\n")
    assert (answer.status, answer.headers["x-request-id"]) == (417, "mine-1")
