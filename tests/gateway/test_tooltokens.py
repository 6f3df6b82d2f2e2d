"""Tool tokens by themselves: what they say, and that nothing but a key of ours makes one."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from agents.behalf import OnBehalf
from gateway.errors import ToolTokenRefusedError
from gateway.tools.errors import ToolNotPermittedError
from gateway.tooltokens import LIFETIME_S, ToolKeyError, ToolKeys, ToolTokens, new_key
from tenancy.data_models import AgentVersion, Mode, ReleaseState, Tool
from tenancy.ids import AgentName, InvocationId, TenantId
from tenancy.tiers import Tier
from tests.clock import FakeClock

URL = "https://lockgate.example"
REF = InvocationId("inv_01jd3k5m7p9q1r3s5t7v9w1x3y")
BEHALF = OnBehalf(TenantId("acme"), "someone")
OLD, NEW = new_key(), new_key()


def agent(*tools: str) -> AgentVersion:
    return AgentVersion(
        name=AgentName("tool-user"),
        version="1.0.0",
        modes=frozenset(Mode),
        runtime_arn="arn",
        state=ReleaseState.PROMOTED,
        tools=tools,
        created_at=FakeClock().now(),
    )


def made(keys: str = OLD, url: str = URL, clock: FakeClock | None = None) -> ToolTokens:
    return ToolTokens(ToolKeys.read(keys), url, clock=clock or FakeClock())


def minted(tokens: ToolTokens) -> str:
    token = tokens.mint(agent("clock"), BEHALF, REF)
    assert token is not None
    return token


def parts(token: str) -> list[dict[str, object]]:
    return [orjson.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def test_a_token_says_for_whom_who_acts_where_and_with_what_for_five_minutes() -> None:
    header, claims = parts(minted(made()))
    issued = int(FakeClock().now().timestamp())
    assert (header["alg"], header["typ"]) == ("ES256", "lockgate-tool+jwt")
    assert claims == {
        "iss": URL,
        "aud": URL + "/v1/mcp",
        "sub": "someone",
        "act": {"sub": "tool-user"},
        "tenant": "acme",
        "invocation": REF,
        "tools": ["clock"],
        "iat": issued,
        "exp": issued + LIFETIME_S,
    }


def test_the_longest_token_fits_into_a_header_of_agentcore() -> None:
    names = [f"{number:02}" + "x" * 62 for number in range(24)]
    token = made().mint(agent(*names), OnBehalf(TenantId("t" * 32), "s" * 128), REF)
    assert token is not None
    assert len(token) <= 4096


def test_an_agent_without_tools_is_given_no_token() -> None:
    assert made().mint(agent(), BEHALF, REF) is None


def test_without_a_key_no_agent_is_given_a_token() -> None:
    assert made(keys="").mint(agent("clock"), BEHALF, REF) is None


async def test_a_token_lasts_five_minutes_and_not_a_second_more() -> None:
    clock = FakeClock()
    tokens = made(clock=clock)
    token = minted(tokens)
    await clock.advance(LIFETIME_S - 1)
    assert tokens.read(token).tenant == "acme"
    await clock.advance(1)
    with pytest.raises(ToolTokenRefusedError):
        tokens.read(token)


def test_a_token_of_another_deployment_is_refused() -> None:
    with pytest.raises(ToolTokenRefusedError):
        made().read(minted(made(url="https://elsewhere.example")))


def test_a_token_of_another_key_is_not_known() -> None:
    token = minted(made(keys=NEW))
    assert not made().keys.knows(token)
    with pytest.raises(ToolTokenRefusedError):
        made().read(token)


def test_a_key_is_replaced_while_tokens_of_the_last_one_are_about() -> None:
    before, after = made(keys=OLD), made(keys=f"{NEW}, {OLD}")
    assert after.read(minted(before)).tenant == "acme"
    assert before.keys.knows(minted(before))
    assert not before.keys.knows(minted(after))


def test_whoever_has_the_published_keys_can_check_a_token() -> None:
    tokens = made(keys=f"{NEW},{OLD}")
    published = orjson.loads(tokens.keys.published())
    assert len(published["keys"]) == 2
    assert not any({"d", "k", "p", "q"} & set(key) for key in published["keys"])
    checked = jwt.decode(minted(tokens), KeySet.import_key_set(published), algorithms=["ES256"])
    assert checked.claims["tenant"] == "acme"


def forged(header: dict[str, object], claims: dict[str, object], key: ECKey | RSAKey) -> str:
    return jwt.encode(header, claims, key, algorithms=[str(header["alg"])])


def test_what_the_header_asks_for_is_never_done() -> None:
    tokens = made()
    header, claims = parts(minted(tokens))
    others = ECKey.generate_key("P-256")
    for wrong in (
        {**header, "alg": "none"},
        {**header, "jwk": others.as_dict(private=False)},
        {**header, "jku": "https://evil.example/keys"},
        {**header, "crit": ["exp"]},
    ):
        head = base64.urlsafe_b64encode(orjson.dumps(wrong)).rstrip(b"=").decode()
        for tail in ("", ".", "." + minted(tokens).rpartition(".")[2]):
            token = f"{head}.{minted(tokens).split('.')[1]}{tail}"
            assert not tokens.keys.knows(token)
            with pytest.raises(ToolTokenRefusedError):
                tokens.read(token)
    with pytest.raises(ToolTokenRefusedError):
        tokens.read(forged(header, claims, others))


@given(place=st.integers(0, 10_000), other=st.sampled_from("ABCxyz019-_.=~"))
def test_a_token_changed_in_any_place_is_refused(place: int, other: str) -> None:
    tokens = made()
    token = minted(tokens)
    at = place % len(token)
    changed = token[:at] + other + token[at + 1 :]
    if changed == token:
        return
    with pytest.raises(ToolTokenRefusedError):
        tokens.read(changed)


@given(st.text(max_size=60))
def test_what_is_no_token_is_refused_whatever_it_is(text: str) -> None:
    with pytest.raises(ToolTokenRefusedError):
        made().read(text)


def test_what_a_tool_is_shown_opens_no_door() -> None:
    tokens = made()
    tool = Tool(
        name="clock",
        description="",
        tier_minimum=Tier.BASIC,
        backend="http",
        target="https://tools.example/clock",
        timeout_s=1,
        answer_limit_bytes=1,
        input_schema_json="{}",
    )
    shown = tokens.assertion(tool, TenantId("acme"), "someone", tokens.read(minted(tokens)))
    assert shown is not None
    _, claims = parts(shown)
    assert (claims["aud"], claims["tenant"], claims["act"]) == (tool.target, "acme", {"sub": "tool-user"})
    assert not tokens.keys.knows(shown)
    with pytest.raises(ToolTokenRefusedError):
        tokens.read(shown)


@pytest.mark.parametrize(
    "text",
    [
        "no base64!",
        "AAAA",
        base64.b64encode(RSAKey.generate_key(2048).as_der(private=True)).decode(),
        base64.b64encode(ECKey.generate_key("P-384").as_der(private=True)).decode(),
        base64.b64encode(ECKey.generate_key("P-256").as_der(private=False)).decode(),
    ],
    ids=["text", "bytes", "rsa", "another curve", "public"],
)
def test_a_setting_that_is_no_signing_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ToolKeyError, match="key 2") as refused:
        ToolKeys.read(f"{OLD},{text}")
    assert text not in str(refused.value)


def test_the_doors_refusal_has_a_code_of_the_range_that_is_ours_to_use() -> None:
    assert -32019 <= ToolNotPermittedError.rpc_code <= -32000
