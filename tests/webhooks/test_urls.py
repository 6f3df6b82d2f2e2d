"""Which URLs are registered: what is judged is what is connected to, however it is written."""

import socket
from collections.abc import Awaitable, Callable

import pytest
from aiohttp.abc import ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from tests.webhooks.conftest import found, resolves_to_a_public_address
from webhooks.errors import UrlRefusedError
from webhooks.lookup import Destinations, Lookup
from webhooks.urls import UrlRules, parse_allow

RULES = UrlRules()


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("https://hooks.example.com", "https://hooks.example.com"),
        ("https://hooks.example.com/in?key=a%2Fb", "https://hooks.example.com/in?key=a/b"),
        ("https://HOOKS.example.com:443/", "https://hooks.example.com/"),
        ("https://hooks.example.com:8443/x", "https://hooks.example.com:8443/x"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://a_b.example.co/", "https://a_b.example.co/"),
        ("https://93.184.216.34/", "https://93.184.216.34/"),
        ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/"),
        # Judged as the name it is connected to.
        ("https://[v1.example]/", "https://v1.example/"),
    ],
)
def test_an_ordinary_url_is_taken(text: str, stored: str) -> None:
    assert str(RULES.parse(text)) == stored
    assert str(RULES.parse(stored)) == stored


REFUSED = [
    # other schemes and ports
    "http://hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "//hooks.example.com/",
    "hooks.example.com",
    "",
    "https://",
    "https:///x",
    "https:hooks.example.com",
    "https://hooks.example.com:80/",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:99999/",
    "https://hooks.example.com:x/",
    # user names, fragments, odd characters
    "https://user@hooks.example.com/",
    "https://user:word@hooks.example.com/",
    "https://hooks.example.com@127.0.0.1/",
    "https://127.0.0.1@hooks.example.com/",
    "https://hooks.example.com/#x",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://hooks.example.com/a b",
    "https://hooks.example.com/\r\nX: y",
    "https://hooks.example.com/\x00",
    "\thttps://hooks.example.com/",
    # names that are no full names
    "https://localhost/",
    "https://metadata/",
    "https://hooks.example.com./",
    "https://.example.com/",
    "https://hooks..example.com/",
    "https://-hooks.example.com/",
    "https://*.example.com/",
    "https://%68ooks.example.com/",
    "https://hooks.example.com%00.evil.com/",
    f"https://{'a' * 64}.example.com/",
    f"https://{'a.' * 130}com/",
    f"https://hooks.example.com/{'a' * 2048}",
    # addresses in every notation
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://0x7f.1/",
    "https://0x7f.0.0.1/",
    "https://0x7f000001/",
    "https://017700000001/",
    "https://1.1.1.0x1/",
    "https://①②⑦.0.0.1/",
    "https://127。0。0。1/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://%31%32%37.0.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://10.0.0.1/",
    "https://192.168.1.1/",
    "https://0.0.0.0/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1%25eth0]/",
    "https://[2606:4700:4700::1111%251]/",
    "https://[::1/",
]


@pytest.mark.parametrize("text", REFUSED)
def test_any_other_url_is_refused_with_a_sentence_that_does_not_quote_it(text: str) -> None:
    with pytest.raises(UrlRefusedError) as refused:
        RULES.parse(text)
    assert refused.value.reason.endswith(".")
    assert text.strip() in {"", "https://"} or text not in refused.value.reason


@given(st.text(max_size=60).map(lambda text: "https://" + text) | st.text(max_size=60))
def test_no_text_breaks_the_parser_and_what_it_takes_reads_the_same_again(text: str) -> None:
    try:
        url = RULES.parse(text)
    except UrlRefusedError:
        return
    assert url.scheme == "https"
    assert RULES.parse(str(url)).raw_host == url.raw_host


def test_a_receiver_on_the_dev_allow_list_is_taken_over_http_at_exactly_its_host_and_port() -> None:
    rules = UrlRules(parse_allow("127.0.0.1:8093, localhost:9999,,[::1]:7000"))
    for text in ("http://127.0.0.1:8093/in", "https://127.0.0.1:8093/", "http://localhost:9999/", "http://[::1]:7000/"):
        assert str(rules.parse(text)) == text
    for text in (
        "http://127.0.0.1:8094/",
        "http://127.0.0.2:8093/",
        "http://localhost:8093/",
        "http://user@127.0.0.1:8093/",
        "ftp://127.0.0.1:8093/",
        "http://hooks.example.com/",
    ):
        with pytest.raises(UrlRefusedError):
            rules.parse(text)


@pytest.mark.parametrize("text", ["127.0.0.1", ":8093", "127.0.0.1:", "127.0.0.1:http", "a:1 b:2", "127.0.0.1:٣"])
def test_a_dev_allow_list_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_allow(text)


def resolves_to(*addresses: str) -> Callable[[str, int, socket.AddressFamily], Awaitable[list[ResolveResult]]]:
    async def resolve(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [found(host, address, port) for address in addresses]

    return resolve


async def test_a_name_with_public_addresses_is_admitted() -> None:
    admitted = Destinations(RULES, resolves_to("93.184.216.34", "2606:4700:4700::1111"))
    assert await admitted.admit("https://HOOKS.example.com/in") == "https://hooks.example.com/in"


@pytest.mark.parametrize(
    "addresses", [("127.0.0.1",), ("93.184.216.34", "10.0.0.1"), ("2606:4700:4700::1111", "::1"), ("64:ff9b::a00:1",)]
)
async def test_a_name_with_any_address_that_is_not_public_is_refused(addresses: tuple[str, ...]) -> None:
    with pytest.raises(UrlRefusedError, match="public addresses only"):
        await Destinations(RULES, resolves_to(*addresses)).admit("https://hooks.example.com/")


async def test_a_name_that_does_not_resolve_yet_is_admitted() -> None:
    assert await Destinations(RULES, resolves_to()).admit("https://hooks.example.com/") == "https://hooks.example.com/"


async def test_an_exempt_receiver_is_not_looked_up() -> None:
    rules = UrlRules(parse_allow("receiver.test:8093"))
    admitted = await Destinations(rules, resolves_to("127.0.0.1")).admit("http://receiver.test:8093/")
    assert admitted == "http://receiver.test:8093/"


async def test_the_systems_resolver_finds_this_machine_and_is_refused_for_it() -> None:
    lookup = Lookup()
    try:
        addresses = await lookup("localhost", 443, socket.AF_UNSPEC)
        assert {one["host"] for one in addresses} <= {"127.0.0.1", "::1"}
        assert {one["port"] for one in addresses} == {443}
        with pytest.raises(UrlRefusedError):
            await Destinations(RULES, resolves_through(lookup)).admit("https://hooks.example.com/")
    finally:
        lookup.close()


def resolves_through(lookup: Lookup) -> Callable[[str, int, socket.AddressFamily], Awaitable[list[ResolveResult]]]:
    async def resolve(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        return await lookup("localhost", port, family)

    return resolve


async def test_the_floors_resolver_of_tests_is_public() -> None:
    assert await Destinations(RULES, resolves_to_a_public_address).admit("https://hooks.example.com/")
