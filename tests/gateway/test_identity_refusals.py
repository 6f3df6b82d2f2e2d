import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import errors
from gateway.errors import TokenRefusedError
from tests.clock import FakeClock
from tests.gateway.identity_fixtures import Identity, running_identity
from tests.gateway.signing import (
    AUDIENCE,
    CLIENT,
    DIRECTORY,
    OTHER_DIRECTORY,
    Forge,
    decoded,
    encoded,
    rsa_key,
)


class Refusal(NamedTuple):
    rule: str
    expected: type[TokenRefusedError]
    authorization: Callable[[Forge], str | None]


def bearer(make: Callable[[Forge], str]) -> Callable[[Forge], str]:
    return lambda forge: f"Bearer {make(forge)}"


def claims(**changes: object) -> Callable[[Forge], str]:
    return bearer(lambda forge: forge.token(None, **changes))


def header(changes: Mapping[str, object]) -> Callable[[Forge], str]:
    return bearer(lambda forge: forge.token(changes))


def times(name: str, ahead_s: float) -> Callable[[Forge], str]:
    return bearer(lambda forge: forge.token(None, **{name: forge.now_s + ahead_s}))


def payload(change: Callable[[bytes], bytes]) -> Callable[[Forge], str]:
    return bearer(lambda forge: forge.raw(orjson.dumps(forge.header()), change(orjson.dumps(forge.claims()))))


def head(change: Callable[[bytes], bytes]) -> Callable[[Forge], str]:
    return bearer(lambda forge: forge.raw(change(orjson.dumps(forge.header())), orjson.dumps(forge.claims())))


def segments(change: Callable[[list[str]], list[str]]) -> Callable[[Forge], str]:
    return bearer(lambda forge: ".".join(change(forge.token().split("."))))


def add(member: bytes) -> Callable[[bytes], bytes]:
    return lambda document: document[:-1] + b"," + member + b"}"


def swap_subject(parts: list[str]) -> list[str]:
    read = orjson.loads(decoded(parts[1]))
    return [parts[0], encoded(orjson.dumps(read | {"oid": "somebody-else"})), parts[2]]


def public_pem(_: Forge) -> bytes:
    return rsa_key("key-1").as_pem(private=False)


def public_jwk() -> dict[str, object]:
    return dict(rsa_key("stranger").as_dict(private=False))


def nested(forge: Forge) -> str:
    return forge.raw(orjson.dumps(forge.header({"cty": "JWT"})), forge.token().encode())


def signed_by_a_stranger(forge: Forge) -> str:
    return forge.raw(orjson.dumps(forge.header()), orjson.dumps(forge.claims()), kid="stranger")


MISSING = errors.TokenMissingError
MALFORMED = errors.TokenMalformedError
CLAIM = errors.TokenClaimInvalidError
UNSIGNED = errors.TokenUnsignedError
ALGORITHM = errors.TokenWrongAlgorithmError
HEADER = errors.TokenHeaderUnsupportedError
ISSUER = errors.TokenWrongIssuerError
AUDIENCE_ERROR = errors.TokenWrongAudienceError
SIGNATURE = errors.TokenBadSignatureError
UNKNOWN = errors.TokenUnknownKeyError

REFUSALS = (
    Refusal("no header", MISSING, lambda _: None),
    Refusal("empty header", MISSING, lambda _: ""),
    Refusal("another scheme", MISSING, lambda _: "Basic YTpi"),
    Refusal("scheme alone", MISSING, lambda _: "Bearer"),
    Refusal("no space after the scheme", MISSING, lambda forge: f"Bearer{forge.token()}"),
    Refusal("scheme and nothing", MALFORMED, lambda _: "Bearer  "),
    Refusal("two tokens", MALFORMED, lambda forge: f"Bearer {forge.token()} {forge.token()}"),
    Refusal("two tokens with a comma", MALFORMED, lambda forge: f"Bearer {forge.token()},{forge.token()}"),
    Refusal("trailing line break", MALFORMED, lambda forge: f"Bearer {forge.token()}\n"),
    Refusal("not a JWT", MALFORMED, lambda _: "Bearer opaque_0123456789abcdef"),
    Refusal("unicode", MALFORMED, lambda forge: f"Bearer {forge.token()}é"),
    Refusal("lone surrogate", MALFORMED, lambda forge: f"Bearer \udc80{forge.token()}"),
    Refusal("a letter before the header", MALFORMED, lambda forge: "Bearer A" + forge.token()),
    Refusal("9 KB", errors.TokenTooLargeError, lambda forge: "Bearer " + forge.token(uti="x" * 9000)),
    Refusal("one segment", MALFORMED, segments(lambda parts: parts[:1])),
    Refusal("truncated after the payload", MALFORMED, segments(lambda parts: parts[:2])),
    Refusal("truncated in the signature", SIGNATURE, segments(lambda parts: [*parts[:2], parts[2][:-2]])),
    Refusal("four segments", MALFORMED, segments(lambda parts: [*parts, parts[2]])),
    Refusal("five segments, as if encrypted", MALFORMED, segments(lambda parts: [*parts, "a", "b"])),
    Refusal("empty header segment", MALFORMED, segments(lambda parts: ["", *parts[1:]])),
    Refusal("empty payload segment", SIGNATURE, segments(lambda parts: [parts[0], "", parts[2]])),
    Refusal("padded segments", MALFORMED, segments(lambda parts: [*parts[:2], parts[2] + "=="])),
    Refusal("signature in another spelling", MALFORMED, segments(lambda parts: [*parts[:2], parts[2][:-1] + "_"])),
    Refusal("standard base64", MALFORMED, segments(lambda parts: [*parts[:2], "+" + parts[2][1:]])),
    Refusal("impossible length of a segment", MALFORMED, segments(lambda parts: [*parts[:2], parts[2] + "AAA"])),
    Refusal("header not JSON", MALFORMED, head(lambda _: b"{")),
    Refusal("header not an object", MALFORMED, head(lambda _: b"[]")),
    Refusal("header with a byte order mark", MALFORMED, head(lambda document: b"\xef\xbb\xbf" + document)),
    Refusal("header not UTF-8", MALFORMED, head(lambda document: document + b"\xff")),
    Refusal("header in UTF-16", MALFORMED, head(lambda document: document.decode().encode("utf-16"))),
    Refusal("header with a name twice", MALFORMED, head(add(b'"kid":"key-1"'))),
    Refusal("header with a name twice, escaped", MALFORMED, head(add(b'"\\u0061lg":"none"'))),
    Refusal("header nested without end", MALFORMED, head(lambda _: b"[" * 5000)),
    Refusal("alg none", UNSIGNED, header({"alg": "none"})),
    Refusal("alg nOnE", UNSIGNED, header({"alg": "nOnE"})),
    Refusal("alg none and no signature", UNSIGNED, lambda forge: f"Bearer {forge.token({'alg': 'none'})[:-342]}"),
    Refusal("no signature", UNSIGNED, segments(lambda parts: [*parts[:2], ""])),
    Refusal("alg missing", MALFORMED, header({"alg": None})),
    Refusal("alg not text", MALFORMED, header({"alg": ["RS256"]})),
    Refusal("alg in lower case", ALGORITHM, header({"alg": "rs256"})),
    Refusal("HS256 with the public key", ALGORITHM, bearer(lambda forge: forge.hmac(public_pem(forge)))),
    Refusal("PS256", ALGORITHM, header({"alg": "PS256"})),
    Refusal("RS512", ALGORITHM, header({"alg": "RS512"})),
    Refusal("ES256", ALGORITHM, header({"alg": "ES256"})),
    Refusal("embedded key", HEADER, header({"jwk": public_jwk()})),
    Refusal("address of keys", HEADER, header({"jku": "https://attacker.example/keys"})),
    Refusal("address of a certificate", HEADER, header({"x5u": "https://attacker.example/cert"})),
    Refusal("embedded certificate", HEADER, header({"x5c": ["MIIB"]})),
    Refusal("critical extension", HEADER, header({"crit": ["exp"]})),
    Refusal("unencoded payload", HEADER, header({"b64": False})),
    Refusal("compressed", HEADER, header({"zip": "DEF"})),
    Refusal("nonce of another API", HEADER, header({"nonce": "x"})),
    Refusal("nested token", HEADER, bearer(nested)),
    Refusal("typ missing", errors.TokenWrongTypeError, header({"typ": None})),
    Refusal("typ of a logout token", errors.TokenWrongTypeError, header({"typ": "logout+jwt"})),
    Refusal("typ not text", errors.TokenWrongTypeError, header({"typ": 1})),
    Refusal("kid missing", MALFORMED, header({"kid": None})),
    Refusal("kid empty", MALFORMED, header({"kid": ""})),
    Refusal("kid not text", MALFORMED, header({"kid": {"$gt": ""}})),
    Refusal("kid too long", MALFORMED, header({"kid": "k" * 65})),
    Refusal("kid unknown", UNKNOWN, header({"kid": "key-2"})),
    Refusal("kid as a path", UNKNOWN, header({"kid": "../../../../dev/null"})),
    Refusal("kid as an address", UNKNOWN, header({"kid": "https://attacker.example/key"})),
    Refusal("signed by another key", SIGNATURE, bearer(signed_by_a_stranger)),
    Refusal("payload changed after signing", SIGNATURE, segments(swap_subject)),
    Refusal("payload not JSON", MALFORMED, payload(lambda _: b"not json")),
    Refusal("payload not an object", MALFORMED, payload(lambda _: b'"text"')),
    Refusal("payload with a byte order mark", MALFORMED, payload(lambda document: b"\xef\xbb\xbf" + document)),
    Refusal("payload not UTF-8", MALFORMED, payload(lambda document: document.replace(b'"x"', b'"\xff"'))),
    Refusal("payload with more after it", MALFORMED, payload(lambda document: document + b"{}")),
    Refusal("payload nested without end", MALFORMED, payload(lambda _: b'{"a":' * 1000)),
    Refusal("a claim twice", MALFORMED, payload(add(f'"tid":"{OTHER_DIRECTORY}"'.encode()))),
    Refusal("a nested name twice", MALFORMED, payload(add(b'"x":{"a":1,"a":2}'))),
    Refusal("NaN", MALFORMED, payload(add(b'"x":NaN'))),
    Refusal("Infinity", MALFORMED, payload(add(b'"x":-Infinity'))),
    Refusal("a number out of range", MALFORMED, payload(add(b'"x":1e999'))),
    Refusal("a number of 5000 digits", MALFORMED, payload(add(b'"x":' + b"9" * 5000))),
    Refusal("tid missing", CLAIM, claims(tid=None)),
    Refusal("tid not a directory's", CLAIM, claims(tid="../common")),
    Refusal("tid in upper case", CLAIM, claims(tid=DIRECTORY.replace("4", "A"))),
    Refusal("tid not text", CLAIM, claims(tid=[DIRECTORY])),
    Refusal("ver missing", errors.TokenWrongVersionError, claims(ver=None)),
    Refusal("ver a number", errors.TokenWrongVersionError, claims(ver=2.0)),
    Refusal("ver unhashable", errors.TokenWrongVersionError, claims(ver=["2.0"])),
    Refusal("ver of the future", errors.TokenWrongVersionError, claims(ver="3.0")),
    Refusal("ver 1.0 where the authority has none", ISSUER, claims(ver="1.0", appid=CLIENT)),
    Refusal("iss missing", ISSUER, claims(iss=None)),
    Refusal("iss of another authority", ISSUER, claims(iss=f"https://attacker.example/{DIRECTORY}/v2.0")),
    Refusal("iss with a slash more", ISSUER, bearer(lambda f: f.token(iss=f"{f.authority}/{DIRECTORY}/v2.0/"))),
    Refusal("iss as the template", ISSUER, bearer(lambda f: f.token(iss=f"{f.authority}/{{tenantid}}/v2.0"))),
    Refusal("tid of another directory than iss", ISSUER, claims(tid=OTHER_DIRECTORY)),
    Refusal("iss a list", ISSUER, bearer(lambda f: f.token(iss=[f"{f.authority}/{DIRECTORY}/v2.0"]))),
    Refusal("aud missing", AUDIENCE_ERROR, claims(aud=None)),
    Refusal("aud of another API", AUDIENCE_ERROR, claims(aud="api://billing")),
    Refusal("aud in another case", AUDIENCE_ERROR, claims(aud=AUDIENCE.upper())),
    Refusal("aud with a slash more", AUDIENCE_ERROR, claims(aud=AUDIENCE + "/")),
    Refusal("aud among others", AUDIENCE_ERROR, claims(aud=[AUDIENCE, "api://billing"])),
    Refusal("aud twice", AUDIENCE_ERROR, claims(aud=[AUDIENCE, AUDIENCE])),
    Refusal("aud an empty list", AUDIENCE_ERROR, claims(aud=[])),
    Refusal("azp missing", CLAIM, claims(azp=None)),
    Refusal("appid instead of azp", CLAIM, claims(azp=None, appid=CLIENT)),
    Refusal("azp with a separator", CLAIM, claims(azp=f"x#{CLIENT}")),
    Refusal("azp too long", CLAIM, claims(azp="a" * 65)),
    Refusal("neither oid nor sub", CLAIM, claims(oid=None, sub=None)),
    Refusal("email is no identity", CLAIM, claims(oid=None, sub=None, email="a@b.example", preferred_username="a")),
    Refusal("oid not text", CLAIM, claims(oid=7)),
    Refusal("oid with a line break", CLAIM, claims(oid="a\nb")),
    Refusal("roles not a list", CLAIM, claims(roles="Platform.Admin")),
    Refusal("roles not of texts", CLAIM, claims(roles=["Agent.Invoke", 1])),
    Refusal("exp missing", CLAIM, claims(exp=None)),
    Refusal("exp as text", CLAIM, claims(exp="9999999999")),
    Refusal("exp as a fraction", CLAIM, times("exp", 3600.5)),
    Refusal("exp true", CLAIM, claims(exp=True)),
    Refusal("exp just passed", errors.TokenExpiredError, times("exp", 0)),
    Refusal("exp long passed", errors.TokenExpiredError, claims(exp=1)),
    Refusal("exp negative", errors.TokenExpiredError, claims(exp=-1)),
    Refusal("exp ten years ahead", errors.TokenLifetimeError, times("exp", 10 * 365 * 86400)),
    Refusal("exp a second more than a day ahead", errors.TokenLifetimeError, times("exp", 86401)),
    Refusal("nbf ahead", errors.TokenNotYetValidError, times("nbf", 61)),
    Refusal("iat ahead", errors.TokenNotYetValidError, times("iat", 61)),
    Refusal("nbf as text", CLAIM, claims(nbf="0")),
    Refusal("iat false", CLAIM, claims(iat=False)),
)


@pytest.fixture
async def identity(clock: FakeClock) -> AsyncIterator[Identity]:
    async with running_identity(clock) as running:
        yield running


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.rule)
async def test_a_token_that_breaks_a_rule_is_refused(identity: Identity, refusal: Refusal) -> None:
    authorization = refusal.authorization(identity.forge)
    for _ in range(2):
        with pytest.raises(TokenRefusedError) as caught:
            await identity.authenticator.authenticate(authorization)
        assert caught.type is refusal.expected
    # Whatever was refused, a good token is still taken.
    assert (await identity.authenticate(identity.forge.token())).tenant_id == "acme"


def test_every_refusal_is_shown() -> None:
    # What is wrong with a tool token or an API key is its own door's to say.
    theirs = {errors.ToolTokenError, errors.ApiKeyUnknownError, errors.ApiKeyExpiredError}
    ours = set(TokenRefusedError.__subclasses__()) - theirs
    assert {refusal.expected for refusal in REFUSALS} == ours


@pytest.mark.parametrize("error", TokenRefusedError.__subclasses__())
def test_a_challenge_is_a_fixed_sentence(error: type[TokenRefusedError]) -> None:
    challenge = error().challenge
    assert challenge.startswith('Bearer realm="lockgate"')
    if error is not MISSING:
        assert challenge == f'Bearer realm="lockgate", error="invalid_token", error_description="{error.description}"'
    assert challenge.isascii()
    assert '"' not in error.description
    assert "\\" not in error.description


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[str], str]:
    """Draw a change of a token's text: replace, insert, delete, repeat or swap a piece."""
    kind = draw(st.sampled_from(["replace", "insert", "delete", "repeat", "segments"]))
    at, length = draw(st.floats(0, 1)), draw(st.integers(1, 8))
    text = draw(st.text(min_size=1, max_size=8) | st.text("ABab01-_.=", min_size=1, max_size=8))
    order = draw(st.permutations(range(3)))

    def mutate(token: str) -> str:
        start = int(at * (len(token) - 1))
        match kind:
            case "replace":
                return token[:start] + text + token[start + len(text) :]
            case "insert":
                return token[:start] + text + token[start:]
            case "delete":
                return token[:start] + token[start + length :]
            case "repeat":
                return token[:start] + token[start : start + length] * 2 + token[start + length :]
            case _:
                return ".".join(token.split(".")[index] for index in order)

    return mutate


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutate=mutations())
async def test_a_changed_token_never_authenticates(identity: Identity, mutate: Callable[[str], str]) -> None:
    token = identity.forge.token()
    changed = mutate(token)
    if changed == token:
        return
    with pytest.raises(TokenRefusedError):
        await identity.authenticate(changed)


async def test_every_bit_of_a_signature_counts(identity: Identity) -> None:
    signing_input, _, signature = identity.forge.token().rpartition(".")
    raw = decoded(signature)
    for index in range(0, len(raw), 17):
        flipped = raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]
        with pytest.raises(SIGNATURE):
            await identity.authenticate(f"{signing_input}.{encoded(flipped)}")


async def test_random_bytes_never_authenticate(identity: Identity) -> None:
    for size in (1, 10, 256, 3000):
        noise = os.urandom(size)
        for token in (encoded(noise), ".".join([encoded(noise)] * 3), noise.decode("latin-1")):
            with pytest.raises(TokenRefusedError):
                await identity.authenticate(token)
