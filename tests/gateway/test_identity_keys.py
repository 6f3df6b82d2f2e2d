import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp
import orjson
import pytest
from joserfc.jwk import ECKey

from gateway import keyset as module
from gateway.errors import IdentityUnavailableError, TokenUnknownKeyError
from gateway.keyset import KeySet
from tests.clock import FakeClock
from tests.gateway.signing import Authority, encoded, running_authority


class Parts(NamedTuple):
    authority: Authority
    keys: KeySet
    clock: FakeClock


@pytest.fixture
async def parts(clock: FakeClock) -> AsyncIterator[Parts]:
    async with running_authority() as authority, aiohttp.ClientSession() as http:
        keys = KeySet(http, authority=authority.url, directory="common", clock=clock)
        yield Parts(authority, keys, clock)
        await keys.aclose()


async def renewed(keys: KeySet) -> None:
    if keys._renewal is not None:
        await keys._renewal


async def test_keys_are_read_once_for_all_who_ask(parts: Parts) -> None:
    found = await asyncio.gather(*(parts.keys.find("key-1") for _ in range(20)))
    assert len({id(key) for key in found}) == 1
    await parts.keys.find("key-1")
    assert parts.authority.reads == 1


async def test_old_keys_serve_while_one_read_renews_them(parts: Parts) -> None:
    old = await parts.keys.find("key-1")
    parts.authority.gate.clear()
    await parts.clock.advance(module.FRESH_S)
    assert [await parts.keys.find("key-1") for _ in range(5)] == [old] * 5
    parts.authority.gate.set()
    await renewed(parts.keys)
    assert parts.authority.reads == 2


async def test_a_new_key_is_found_at_its_first_token(parts: Parts) -> None:
    await parts.keys.find("key-1")
    parts.authority.kids = ["key-2", "key-1"]
    await asyncio.gather(*(parts.keys.find("key-2") for _ in range(20)))
    assert parts.authority.reads == 2


async def test_unknown_keys_cost_one_read_in_five_minutes_however_many_ask(parts: Parts) -> None:
    await parts.keys.find("key-1")
    for number in range(50):
        with pytest.raises(TokenUnknownKeyError):
            await parts.keys.find(f"unknown-{number}")
    assert parts.authority.reads == 2
    await parts.clock.advance(module.UNKNOWN_KEY_PAUSE_S - 1)
    with pytest.raises(TokenUnknownKeyError):
        await parts.keys.find("unknown")
    assert parts.authority.reads == 2
    await parts.clock.advance(1)
    with pytest.raises(TokenUnknownKeyError):
        await parts.keys.find("unknown")
    assert parts.authority.reads == 3


async def test_many_unknown_keys_at_once_share_one_read(parts: Parts) -> None:
    await parts.keys.find("key-1")
    found = await asyncio.gather(*(parts.keys.find(f"unknown-{n}") for n in range(20)), return_exceptions=True)
    assert [type(error) for error in found] == [TokenUnknownKeyError] * 20
    assert parts.authority.reads == 2


async def test_known_keys_never_wait_for_a_slow_authority(parts: Parts) -> None:
    key = await parts.keys.find("key-1")
    await parts.authority.reading.get()
    parts.authority.gate.clear()
    waiting = asyncio.create_task(parts.keys.find("key-2"))
    await parts.authority.reading.get()
    assert await parts.keys.find("key-1") is key
    assert not waiting.done()
    parts.authority.kids = ["key-2"]
    parts.authority.gate.set()
    await waiting


async def test_a_slow_authority_is_given_up(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    parts.authority.gate.clear()
    with pytest.raises(IdentityUnavailableError):
        await parts.keys.find("key-1")
    parts.authority.gate.set()


async def test_cached_keys_outlive_an_authority_that_is_away_for_a_day(parts: Parts) -> None:
    key = await parts.keys.find("key-1")
    parts.authority.status = 503
    for _ in range(23):
        await parts.clock.advance(3600)
        assert await parts.keys.find("key-1") is key
        await renewed(parts.keys)
    assert parts.keys.failures == 23
    await parts.clock.advance(3600)
    with pytest.raises(IdentityUnavailableError):
        await parts.keys.find("key-1")
    parts.authority.status = 200
    await parts.clock.advance(module.RETRY_S)
    assert await parts.keys.find("key-1") is not key


async def test_an_authority_that_is_away_is_asked_again_only_after_a_pause(parts: Parts) -> None:
    parts.authority.status = 500
    for _ in range(10):
        with pytest.raises(IdentityUnavailableError):
            await parts.keys.find("key-1")
    assert parts.keys.failures == 1
    parts.authority.status = 200
    await parts.clock.advance(module.RETRY_S)
    await parts.keys.find("key-1")


async def test_a_refused_connection_is_unavailability_too(clock: FakeClock) -> None:
    async with aiohttp.ClientSession() as http:
        keys = KeySet(http, authority="http://127.0.0.1:9", directory="common", clock=clock)
        with pytest.raises(IdentityUnavailableError):
            await keys.find("key-1")


async def test_other_keys_replace_the_old_ones(parts: Parts) -> None:
    await parts.keys.find("key-1")
    parts.authority.kids = ["key-2"]
    await parts.keys.find("key-2")
    with pytest.raises(TokenUnknownKeyError):
        await parts.keys.find("key-1")


WEAK: dict[str, object] = {
    "kty": "RSA",
    "kid": "weak",
    "n": encoded((1 << 2047 | 1).to_bytes(256, "big")[:128]),
    "e": "AQAB",
}
UNUSABLE: tuple[dict[str, object], ...] = (
    WEAK,
    {"kty": "RSA", "kid": "huge", "n": encoded(b"\xff" * 1200), "e": "AQAB"},
    {"kty": "RSA", "kid": "even", "n": encoded(b"\xff" * 256), "e": "Ag"},
    {"kty": "RSA", "kid": "no-modulus", "e": "AQAB"},
    {"kty": "RSA", "kid": "not-text", "n": 5, "e": "AQAB"},
    {"kty": "RSA", "kid": "k" * 65, "n": encoded(b"\xff" * 256), "e": "AQAB"},
    {"kty": "RSA", "kid": "for-encryption", "n": encoded(b"\xff" * 256), "e": "AQAB", "use": "enc"},
    {"kty": "RSA", "kid": "for-pss", "n": encoded(b"\xff" * 256), "e": "AQAB", "alg": "PS256"},
    {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
    {**ECKey.generate_key("P-256").as_dict(private=False), "kid": "curve"},
)


@pytest.mark.parametrize("unusable", UNUSABLE, ids=lambda key: str(key["kid"])[:20])
async def test_a_key_that_may_not_sign_is_left_out_and_the_others_stay(
    parts: Parts, unusable: dict[str, object]
) -> None:
    parts.authority.extra_keys = [unusable, {}]
    assert await parts.keys.find("key-1")
    with pytest.raises(TokenUnknownKeyError):
        await parts.keys.find(str(unusable["kid"]))


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        orjson.dumps({"keys": [WEAK]}),
    ],
    ids=["not json", "a list", "no keys", "keys no list", "none", "none usable"],
)
async def test_a_document_that_is_no_key_set_changes_nothing(parts: Parts, body: bytes) -> None:
    key = await parts.keys.find("key-1")
    parts.authority.keys_body = body
    await parts.clock.advance(module.FRESH_S)
    await parts.keys.find("key-1")
    await renewed(parts.keys)
    assert parts.keys.failures == 1
    assert await parts.keys.find("key-1") is key


@pytest.mark.parametrize(
    "changes",
    [
        {"jwks_uri": "http://127.0.0.1:1/common/discovery/v2.0/keys"},
        {"jwks_uri": "https://attacker.example/keys"},
        {"jwks_uri": "//attacker.example/keys"},
        {"jwks_uri": "/common/discovery/v2.0/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://[broken"},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"issuer": "https://attacker.example/{tenantid}/v2.0"},
        {"issuer": None},
    ],
    ids=str,
)
async def test_keys_come_from_the_authority_s_own_origin_and_name_only(
    parts: Parts, changes: dict[str, object]
) -> None:
    parts.authority.metadata_changes = changes
    with pytest.raises(IdentityUnavailableError):
        await parts.keys.find("key-1")
    assert (parts.authority.reads, parts.keys.failures) == (0, 1)


async def test_a_key_set_too_large_is_not_read_however_good(parts: Parts) -> None:
    parts.authority.extra_keys = [{"padding": "x" * module.DOCUMENT_LIMIT_BYTES}]
    with pytest.raises(IdentityUnavailableError):
        await parts.keys.find("key-1")


async def test_good_keys_of_another_origin_are_not_asked_for(parts: Parts) -> None:
    async with running_authority() as stranger:
        parts.authority.metadata_changes = {"jwks_uri": f"{stranger.url}/elsewhere/keys"}
        with pytest.raises(IdentityUnavailableError):
            await parts.keys.find("key-1")
        assert stranger.reads == 0


async def test_no_redirection_is_followed(parts: Parts) -> None:
    async with running_authority() as stranger:
        parts.authority.redirect = f"{stranger.url}/elsewhere/keys"
        with pytest.raises(IdentityUnavailableError):
            await parts.keys.find("key-1")
        assert (parts.authority.reads, stranger.reads) == (1, 0)


async def test_the_keys_may_have_another_path_on_the_same_origin(parts: Parts) -> None:
    parts.authority.metadata_changes = {"jwks_uri": f"{parts.authority.url}/elsewhere/keys"}
    assert await parts.keys.find("key-1")


async def test_no_more_keys_are_read_than_a_limit(parts: Parts) -> None:
    parts.authority.extra_keys = [{"kid": str(n)} for n in range(module.KEYS_LIMIT)]
    with pytest.raises(IdentityUnavailableError):
        await parts.keys.find("key-1")


async def test_closing_ends_the_read_under_way(parts: Parts) -> None:
    parts.authority.gate.clear()
    waiting = asyncio.create_task(parts.keys.find("key-1"))
    await parts.authority.reading.get()
    await parts.keys.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    parts.authority.gate.set()
