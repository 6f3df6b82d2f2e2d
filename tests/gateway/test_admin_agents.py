"""The agent registry on a whole gateway: who may register, what is invoked, and which conversation stays where."""

import secrets
from collections.abc import AsyncIterator

import pytest

from tenancy.clock import SystemClock
from tenancy.data_models import IdentityBinding, Tenant
from tenancy.ids import TenantId
from tenancy.tiers import Tier
from tests.conftest import Aws
from tests.gateway.signing import DIRECTORY, Forge
from tests.gateway.whole import Answered, Whole, whole_gateway

pytestmark = pytest.mark.stack

ARN = "arn:aws:bedrock-agentcore:eu-west-1:123456789012:runtime/echo-0123456789"
WAY = ("deployed", "verified", "evaluated", "approved")


@pytest.fixture
async def whole(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway; its runtime is away, which is as good as any to see what is invoked at all."""
    async with whole_gateway(aws, redis_url, monkeypatch, "http://127.0.0.1:1") as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"a{secrets.token_hex(8)}"


def version(name: str, number: object = "1.0.0", **fields: object) -> dict[str, object]:
    told = {"name": name, "version": number, "description": "Echo", "modes": ["sync"], "runtimeArn": ARN}
    return told | {"reason": "release"} | fields


async def turn(whole: Whole, name: str, verb: str, number: str = "1.0.0", **fields: object) -> Answered:
    return await whole.act("POST", f"/agents/{name}/versions/{number}/{verb}", {"reason": "release"} | fields)


async def promoted(whole: Whole, name: str, *numbers: str) -> None:
    for number in numbers:
        assert (await whole.act("POST", "/agents", version(name, number))).status == 201
        for state in WAY:
            assert (await turn(whole, name, "state", number, state=state)).status == 200
        assert (await turn(whole, name, "promote", number)).status == 200


async def offered(whole: Whole, name: str) -> object:
    """Return the version a new conversation gets, or the problem."""
    answer = await whole.get(f"/v1/agents/{name}")
    return answer.body.get("version", answer.code)


async def test_only_what_is_promoted_is_invoked(whole: Whole, name: str) -> None:
    made = await whole.act("POST", "/agents", version(name))
    assert (made.status, made.body["state"]) == (201, "built")
    assert await offered(whole, name) == "not_found"
    for state in WAY:
        assert (await turn(whole, name, "state", state=state)).body["state"] == state
        assert await offered(whole, name) == "not_found"
    assert (await turn(whole, name, "promote")).body["state"] == "promoted"
    assert await offered(whole, name) == "1.0.0"


async def test_no_state_is_skipped_and_the_refusal_says_what_may_follow(whole: Whole, name: str) -> None:
    await whole.act("POST", "/agents", version(name))
    for verb, fields in (("promote", {}), ("roll-back", {}), ("state", {"state": "approved"})):
        refused = await turn(whole, name, verb, **fields)
        assert (refused.status, refused.code, refused.body["state"]) == (409, "release_illegal", "built")
        assert refused.body["allowed"] == ["deployed", "failed", "disabled"]
    for state in ("promoted", "disabled", "rolled_back", "built", "nothing"):
        assert (await turn(whole, name, "state", state=state)).status == 422


async def test_rolled_back_the_version_before_it_serves_and_the_last_one_stays(whole: Whole, name: str) -> None:
    await promoted(whole, name, "1.0.0", "1.1.0")
    assert await offered(whole, name) == "1.1.0"
    assert (await turn(whole, name, "roll-back", "1.1.0")).body["state"] == "rolled_back"
    assert await offered(whole, name) == "1.0.0"
    assert (await turn(whole, name, "roll-back", "1.0.0")).code == "last_promoted"
    assert (await turn(whole, name, "promote", "1.1.0")).status == 200
    assert await offered(whole, name) == "1.1.0"


async def test_a_disabled_version_is_invoked_by_nobody_again(whole: Whole, name: str) -> None:
    await promoted(whole, name, "1.0.0")
    assert (await turn(whole, name, "disable")).body["state"] == "disabled"
    assert await offered(whole, name) == "not_found"
    assert (await turn(whole, name, "promote")).code == "release_illegal"


async def test_a_version_does_not_change_and_every_move_is_told(whole: Whole, name: str) -> None:
    await whole.act("POST", "/agents", version(name))
    again = await whole.act("POST", "/agents", version(name, description="another"))
    assert (again.status, again.code) == (409, "agent_version_exists")
    await turn(whole, name, "state", state="failed")
    told = await whole.act("GET", "/audit", None, tenant="platform", operation="agent.state")
    newest = told.body["items"][0]  # type: ignore[index]
    assert (newest["target"], newest["before"], newest["after"]) == (
        f"{name} 1.0.0",
        {"state": "built"},
        {"state": "failed"},
    )
    versions = await whole.act("GET", f"/agents/{name}/versions")
    assert [one["description"] for one in versions.body["items"]] == ["Echo"]  # type: ignore[attr-defined]


async def test_every_version_is_listed_page_by_page_newest_first(whole: Whole, name: str) -> None:
    await promoted(whole, name, "1.9.0")
    await whole.act("POST", "/agents", version(name, "1.10.0"))
    found: list[object] = []
    query = {"limit": "3"}
    while True:
        page = await whole.act("GET", "/agents", None, **query)
        found += [one["version"] for one in page.body["items"] if one["name"] == name]  # type: ignore[attr-defined]
        if "nextCursor" not in page.body:
            break
        query["cursor"] = str(page.body["nextCursor"])
    assert found == ["1.10.0", "1.9.0"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"version": "1.0"}, "/version"),
        ({"version": "01.0.0"}, "/version"),
        ({"runtimeArn": "arn:aws:lambda:eu-west-1:123456789012:function:x"}, "/runtimeArn"),
        ({"modes": []}, "/modes"),
        ({"modes": ["async"]}, ""),
        ({"inputSchema": {"type": "nonsense"}}, "/inputSchema"),
        ({"inputSchema": {"$ref": "http://elsewhere/x"}}, "/inputSchema"),
        ({"state": "promoted"}, ""),
        ({"owner": "globex"}, ""),
        ({"reason": " "}, "/reason"),
    ],
)
async def test_what_is_wrong_with_a_version_is_named(
    whole: Whole, name: str, fields: dict[str, object], pointer: str
) -> None:
    answer = await whole.act("POST", "/agents", version(name) | fields)
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, pointer)  # type: ignore[index]
    assert (await whole.act("GET", f"/agents/{name}/versions")).status == 404


async def test_what_is_no_versions_number_is_not_found(whole: Whole, name: str) -> None:
    for number in ("1.0", "1" * 1500, "1.0.0%00", "9999999.0.0"):
        assert (await whole.act("GET", f"/agents/{name}/versions/{number}")).status == 404


async def developer(whole: Whole, aws: Aws, role: str = "Agent.Developer") -> tuple[TenantId, str]:
    """Return another tenant and the token of one of its principals."""
    tag, now, parts = secrets.token_hex(6), SystemClock().now(), whole.process.parts
    tenant_id = TenantId(f"d{tag}")
    await whole.stores.db(tenant_id).put(
        Tenant(tenant_id=tenant_id, name=tag, tier=Tier.BASIC, created_at=now, updated_at=now)
    )
    binding = IdentityBinding(
        issuer=f"{whole.authority}/{DIRECTORY}/v2.0",
        directory=DIRECTORY,
        client_id=tag,
        tenant_id=tenant_id,
        created_at=now,
    )
    await parts.admin.tenants.platform.put_binding(binding)
    return tenant_id, Forge(whole.authority, now).token(azp=tag, roles=[role])


async def test_a_tenants_developer_sees_and_adds_to_its_own_tenants_agents_alone(
    whole: Whole, aws: Aws, name: str
) -> None:
    await whole.act("POST", "/agents", version(name))
    tenant_id, token = await developer(whole, aws)
    own, path = f"{name}-own", "/v1/admin/agents"
    async with whole.bearing(token) as session:

        async def asked(method: str, path: str, body: object = None) -> Answered:
            async with session.request(method, path, json=body) as answer:
                return Answered(answer.status, dict(answer.headers), await answer.json(content_type=None))

        made = await asked("POST", path, version(own))
        assert (made.status, made.body["owner"]) == (201, tenant_id)
        assert (await asked("POST", path, version(name, "2.0.0"))).code == "agent_taken"
        listed = await asked("GET", path)
        assert [one["name"] for one in listed.body["items"]] == [own]  # type: ignore[attr-defined]
        hidden, absent = [await asked("GET", f"{path}/{one}/versions/1.0.0") for one in (name, "nothing-here")]
        assert (
            (hidden.status, hidden.body["detail"])
            == (absent.status, absent.body["detail"])
            == (404, hidden.body["detail"])
        )
        assert (await asked("GET", f"{path}/{name}/versions")).status == 404
        for verb in ("promote", "roll-back", "disable", "state"):
            refused = await asked("POST", f"{path}/{own}/versions/1.0.0/{verb}", {"reason": "x"})
            assert refused.code == "role_missing"
        await whole.act("POST", f"/tenants/{tenant_id}/suspend", {"reason": "unpaid"})
        assert (await asked("GET", path)).code == "tenant_suspended"


async def test_who_may_only_invoke_registers_nothing(whole: Whole, aws: Aws, name: str) -> None:
    _, token = await developer(whole, aws, "Agent.Invoke")
    async with whole.bearing(token) as session, session.post("/v1/admin/agents", json=version(name)) as answer:
        assert (answer.status, (await answer.json())["role"]) == (403, "Agent.Developer")


async def test_two_tenants_keys_of_the_same_name_are_two(whole: Whole, aws: Aws, name: str) -> None:
    headers, statuses = {"Idempotency-Key": "same"}, []
    for number in ("1.0.0", "1.0.1"):
        _, token = await developer(whole, aws)
        body = version(f"{name}-{number[-1]}", number)
        async with (
            whole.bearing(token) as session,
            session.post("/v1/admin/agents", json=body, headers=headers) as answer,
        ):
            statuses.append(answer.status)
    assert statuses == [201, 201]
