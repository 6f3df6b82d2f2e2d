"""The tools' door on a whole gateway: who may call what, and what reaches the tool."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pydantic import JsonValue

from agents.behalf import OnBehalf
from gateway.tooltokens import ToolTokens
from tenancy.clock import SystemClock
from tenancy.data_models import (
    AgentVersion,
    AuditEvent,
    InvocationRecord,
    Mode,
    ReleaseState,
    Status,
    Tenant,
)
from tenancy.ids import AgentName, InvocationId, TenantId, new_invocation_id, new_session_id
from tenancy.tiers import Tier
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.gateway.tools.given import HANDSHAKE, PAGE, STATELESS, World, tool, world

pytestmark = pytest.mark.stack

AGENT = AgentName("tool-user")
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


@pytest.fixture
async def running(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(aws, redis_url, monkeypatch) as started:
        mcp = started.server.url + "/mcp"
        await started.register(
            tool("basic", mcp),
            tool("standard", mcp, tier_minimum=Tier.STANDARD),
            tool("premium", mcp, tier_minimum="premium"),
        )
        yield started


def agent(running: World, *tools: str) -> AgentVersion:
    return AgentVersion(
        name=AGENT,
        version="1.0.0",
        modes=frozenset(Mode),
        runtime_arn="arn",
        state=ReleaseState.PROMOTED,
        tools=tuple(map(running.named, tools)),
        created_at=SystemClock().now(),
    )


async def begun(running: World, status: Status = Status.RUNNING) -> InvocationId:
    """Store an invocation as another process would have begun it."""
    now, tenant_id = SystemClock().now(), running.gateway.tenant_id
    record = InvocationRecord(
        tenant_id=tenant_id,
        invocation_id=new_invocation_id(now),
        agent=AGENT,
        agent_version="1.0.0",
        mode=Mode.STREAM,
        status=status,
        session_id=new_session_id(),
        principal="someone",
        request_id="req",
        created_at=now,
        ttl=int(now.timestamp()) + 60,
    )
    await running.gateway.stores.db(tenant_id).put(record)
    return record.invocation_id


async def token_for(running: World, *tools: str, tokens: ToolTokens | None = None) -> str:
    invocation_id = await begun(running)
    minted = (tokens or running.tokens).mint(
        agent(running, *tools), OnBehalf(running.gateway.tenant_id, "someone"), invocation_id
    )
    assert minted is not None
    return minted


async def audited(running: World) -> list[AuditEvent]:
    door = running.gateway.stores.db(running.gateway.tenant_id)
    partition = AuditEvent.key_of(running.gateway.tenant_id, "").partition
    while True:
        page = await door.query(AuditEvent, partition, limit=50, consistent=True)
        if page.items:
            return list(page.items)


@pytest.mark.parametrize("version", [STATELESS, HANDSHAKE])
async def test_a_list_shows_what_the_tier_allows(running: World, version: str) -> None:
    assert await running.listed(version=version) == ["basic", "standard"]


async def test_a_list_shows_an_agent_no_more_than_its_own_tools(running: World) -> None:
    token = await token_for(running, "standard", "premium", "unheard-of")
    assert await running.listed(token) == ["standard"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", PAGE.upper(), f"{PAGE}.evil.example", f"{PAGE}, https://evil.example"],
)
async def test_a_page_of_another_origin_is_refused(running: World, origin: str) -> None:
    refused = await running.post(PING, {"Origin": origin})
    assert (refused.status, refused.body["code"]) == (403, "origin_foreign")


@pytest.mark.parametrize("headers", [{}, {"Origin": PAGE}])
async def test_programs_and_pages_of_configured_origins_are_let_in(running: World, headers: dict[str, str]) -> None:
    answer = await running.post(PING, headers)
    assert (answer.status, answer.body) == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})


@pytest.mark.parametrize("version", [STATELESS, HANDSHAKE])
async def test_what_the_tier_does_not_allow_is_refused_before_anything_reaches_the_tool(
    running: World, version: str
) -> None:
    refused = await running.call("premium", version=version, text="x")
    assert (refused.status, refused.body["id"], refused.body["error"]["code"]) == (403, 7, -32010)
    assert refused.code == "tool_not_permitted"
    assert running.server.calls == []


async def test_what_the_agent_may_not_use_is_refused_though_its_tenant_may(running: World) -> None:
    refused = await running.call("standard", await token_for(running, "basic"), text="x")
    assert (refused.status, refused.code) == (403, "tool_not_permitted")
    assert running.server.calls == []


async def test_a_tool_that_does_not_exist_looks_like_one_that_may_not_be_called(running: World) -> None:
    unknown, forbidden = await running.call("unheard-of"), await running.call("premium")
    assert (unknown.status, unknown.body) == (forbidden.status, forbidden.body)


@pytest.mark.parametrize("version", [STATELESS, HANDSHAKE])
async def test_a_permitted_call_reaches_the_tool_and_its_answer_comes_back(running: World, version: str) -> None:
    running.server.answer = {"content": [{"type": "text", "text": "hello"}], "structuredContent": {"n": 1}, "_meta": {}}
    answer = await running.call("basic", await token_for(running, "basic"), version, text="x")
    assert (answer.status, answer.text) == (200, "hello")
    assert answer.body["result"]["structuredContent"] == {"n": 1}
    assert "_meta" not in answer.body["result"]
    assert running.server.calls == [("basic", {"text": "x"})]


async def test_an_exception_grants_and_withholds_whatever_the_tier(running: World) -> None:
    path = f"/tenants/{running.gateway.tenant_id}/tools/"
    for name, allowed in (("premium", True), ("basic", False)):
        body = {"allowed": allowed, "reason": "trial"}
        assert (await running.gateway.act("PUT", path + running.named(name), body)).status == 200
    assert await running.listed() == ["premium", "standard"]
    assert (await running.call("basic")).status == 403
    assert (await running.gateway.act("DELETE", path + running.named("basic"), reason="over")).status == 204
    assert await running.listed() == ["basic", "premium", "standard"]


async def test_arguments_the_tool_does_not_take_are_refused_before_it_is_reached(running: World) -> None:
    refused = await running.call("basic", text=4)
    assert (refused.status, refused.code) == (400, "rpc_params_invalid")
    assert refused.body["error"]["data"]["fault"] == "arguments/text: fails type"
    assert running.server.calls == []


async def test_a_tool_called_too_often_is_refused_and_told_when_to_ask_again(running: World) -> None:
    await running.register(tool("rare", running.server.url + "/mcp", calls_per_s=1, burst_calls=2))
    answers = [await running.call("rare") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].code == "tool_rate_limited"
    assert answers[2].headers["Retry-After"] == "1"
    assert len(running.server.calls) == 2


async def test_the_tool_is_shown_who_calls_by_a_token_for_it_alone_and_never_the_callers(running: World) -> None:
    token = await token_for(running, "basic")
    await running.call("basic", token)
    [headers] = running.server.headers
    assert headers["X-Lockgate-Tenant"] == running.gateway.tenant_id
    assert headers["X-Lockgate-Agent"] == AGENT
    shown = headers["Authorization"].removeprefix("Bearer ")
    assert shown != token
    assert (await running.call("basic", shown)).status == 401


async def test_a_call_is_audited_and_counted_for_its_invocation(running: World) -> None:
    token = await token_for(running, "basic")
    claims = running.tokens.read(token)
    await running.call("basic", token)
    await running.call("basic", token)
    calls = running.gateway.process.parts.tool_door.calls
    assert await calls.of(running.gateway.tenant_id, claims.ref) == 2
    events = await audited(running)
    assert (events[0].actor, events[0].operation, events[0].target) == (
        f"{AGENT} for someone",
        "tool.call",
        running.named("basic"),
    )
    assert (events[0].outcome, events[0].reason) == ("allowed", "succeeded")


async def test_a_refusal_is_audited(running: World) -> None:
    await running.call("premium")
    [event] = await audited(running)
    assert (event.outcome, event.reason, event.target) == ("refused", "tool_not_permitted", None)


async def test_a_result_passes_the_tenants_redaction(running: World) -> None:
    await _redacting(running, "redact")
    running.server.answer = {"content": [{"type": "text", "text": "write to ada@acme.example"}]}
    assert (await running.call("basic")).text == "write to [REDACTED:email]"


async def test_a_result_that_is_blocked_is_withheld(running: World) -> None:
    await _redacting(running, "block")
    running.server.answer = {"content": [{"type": "text", "text": "write to ada@acme.example"}]}
    answer = await running.call("basic")
    assert answer.body["result"]["isError"] is True
    assert "ada" not in answer.text
    [event] = await audited(running)
    assert event.reason == "redaction_blocked"


async def test_a_result_that_cannot_be_redacted_is_not_passed_on(running: World) -> None:
    await _redacting(running, "redact", {"name": "forever", "pattern": "a+"})
    running.server.answer = {"content": [{"type": "text", "text": "write to ada@acme.example"}]}
    answer = await running.call("basic")
    assert (answer.status, "ada" in str(answer.body)) == (500, False)
    assert "result" not in answer.body
    [event] = await audited(running)
    assert event.reason == "interceptor_failed"


async def _redacting(running: World, redaction: str, *patterns: JsonValue) -> None:
    door, key = (
        running.gateway.stores.db(running.gateway.tenant_id),
        Tenant.key_of(running.gateway.tenant_id, "METADATA"),
    )
    await door.update(Tenant, key, {"redaction": redaction, "redaction_patterns": [*patterns]})
    running.gateway.process.parts.access.registry.invalidate(running.gateway.tenant_id)


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.CANCELLED, Status.FAILED])
async def test_a_token_ends_with_its_invocation(running: World, status: Status) -> None:
    invocation_id = await begun(running, status)
    token = running.tokens.mint(agent(running, "basic"), OnBehalf(running.gateway.tenant_id, "someone"), invocation_id)
    refused = await running.call("basic", token)
    assert (refused.status, refused.code) == (401, "tool_token_ended")
    assert running.server.calls == []


async def test_a_token_of_an_invocation_nobody_knows_is_refused(running: World) -> None:
    unknown = new_invocation_id(SystemClock().now())
    token = running.tokens.mint(agent(running, "basic"), OnBehalf(running.gateway.tenant_id, "someone"), unknown)
    assert (await running.call("basic", token)).code == "tool_token_ended"


async def test_a_token_whose_invocation_is_another_tenants_is_refused(running: World) -> None:
    invocation_id = await begun(running)
    token = running.tokens.mint(agent(running, "basic"), OnBehalf(TenantId("stranger"), "someone"), invocation_id)
    assert (await running.call("basic", token)).status == 401


async def test_an_expired_token_is_refused(running: World) -> None:
    then = FakeClock(SystemClock().now() - timedelta(seconds=301))
    old = ToolTokens(running.tokens.keys, "https://lockgate.example", clock=then)
    refused = await running.call("basic", await token_for(running, "basic", tokens=old))
    assert (refused.status, refused.code) == (401, "tool_token_refused")


async def test_a_suspended_tenants_token_is_refused(running: World) -> None:
    token = await token_for(running, "basic")
    await running.gateway.process.parts.access.registry.suspend(running.gateway.tenant_id, "trial over")
    refused = await running.call("basic", token)
    assert (refused.status, refused.code) == (403, "tenant_suspended")


async def test_a_tool_token_opens_nothing_but_the_door(running: World) -> None:
    token = await token_for(running, "basic")
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/v1/me", "/v1/agents", "/v1/jobs"):
        async with running.gateway.session.get(running.gateway.url + path, headers=headers) as answer:
            assert answer.status == 401, path


async def test_a_token_is_renewed_while_its_invocation_lives(running: World) -> None:
    token = await token_for(running, "basic")
    url = running.gateway.url + "/v1/tool-tokens/renew"
    async with running.gateway.session.post(url, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 200
        renewed = (await answer.json())["token"]
    before, after = running.tokens.read(token), running.tokens.read(renewed)
    assert after.model_dump(exclude={"iat", "exp"}) == before.model_dump(exclude={"iat", "exp"})
    assert (await running.call("basic", renewed)).status == 200


async def test_a_token_of_an_ended_invocation_is_not_renewed(running: World) -> None:
    invocation_id = await begun(running, Status.SUCCEEDED)
    token = running.tokens.mint(agent(running, "basic"), OnBehalf(running.gateway.tenant_id, "someone"), invocation_id)
    url = running.gateway.url + "/v1/tool-tokens/renew"
    async with running.gateway.session.post(url, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 401


async def test_a_callers_own_token_cannot_be_made_into_a_tool_token(running: World) -> None:
    async with running.gateway.session.post(running.gateway.url + "/v1/tool-tokens/renew") as answer:
        assert answer.status == 401
