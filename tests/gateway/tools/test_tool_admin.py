"""Tools as operators register them and grant them to tenants: what is stored, told, shown and refused."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Aws
from tests.gateway.tools.given import World, world

pytestmark = pytest.mark.stack

TOOL = {
    "description": "Looks things up.",
    "tierMinimum": "premium",
    "backend": "http",
    "target": "https://tools.example/look",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
    "reason": "asked for",
}
FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:look"


@pytest.fixture
async def running(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(aws, redis_url, monkeypatch) as started:
        yield started


async def acts(running: World, **query: str) -> list[object]:
    """Return what the audit log tells, oldest first."""
    items = (await running.gateway.act("GET", "/audit", **query)).body["items"]
    assert isinstance(items, list)
    return [(one["operation"], one["target"], one["before"], one["after"], one["reason"]) for one in reversed(items)]


async def test_a_tool_is_registered_changed_shown_and_told(running: World) -> None:
    name, gateway = running.named("look"), running.gateway
    made = await gateway.act("PUT", f"/tools/{name}", TOOL)
    assert (made.status, made.body["version"], made.body["timeoutSeconds"]) == (201, 0, 30)
    changed = await gateway.act(
        "PUT", f"/tools/{name}", TOOL | {"tierMinimum": "basic", "version": 0, "reason": "free"}
    )
    assert (changed.status, changed.body["version"], changed.body["tierMinimum"]) == (200, 1, "basic")
    assert (await gateway.act("GET", f"/tools/{name}")).body == changed.body
    await gateway.act("PUT", f"/tools/{running.named('other')}", TOOL)
    [first], cursor = await page(running, limit="1")
    others, _ = await page(running, limit="100", cursor=str(cursor))
    assert changed.body in [first, *others]
    told = [one for one in await acts(running, tenant="platform", limit="100") if one[1] == name]  # type: ignore[index]
    assert told[1] == ("tool.change", name, {"tier_minimum": "premium"}, {"tier_minimum": "basic"}, "free")
    assert told[0][0] == "tool.register"  # type: ignore[index]


async def page(running: World, **query: str) -> tuple[list[object], object]:
    body = (await running.gateway.act("GET", "/tools", **query)).body
    items = body["items"]
    assert isinstance(items, list)
    return items, body.get("nextCursor")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"backend": "lambda"}, "/target"),
        ({"target": FUNCTION}, "/target"),
        ({"target": "https://user:secret@tools.example/"}, "/target"),
        ({"target": "file:///etc/passwd"}, "/target"),
        ({"target": "https://[bad/"}, "/target"),
        ({"target": "https://tools.example:99999/"}, "/target"),
        ({"target": "https://tools.example:/"}, "/target"),
        ({"inputSchema": {"type": "string"}}, "/inputSchema"),
        ({"inputSchema": {"type": "object", "properties": 4}}, "/inputSchema"),
        ({"inputSchema": {"type": "object", "$ref": "https://elsewhere.example/schema"}}, "/inputSchema"),
        ({"timeoutSeconds": 0}, "/timeoutSeconds"),
        ({"answerLimitBytes": 6_291_457}, "/answerLimitBytes"),
        ({"callsPerSecond": 0}, "/callsPerSecond"),
        ({"tierMinimum": "gold"}, "/tierMinimum"),
        ({"backendName": None}, "/backendName"),
        ({"reason": " "}, "/reason"),
        ({"reason": "paid \u202eton"}, "/reason"),
        ({"reason": "paid\u200b"}, "/reason"),
        ({"description": "\ufeffsearches"}, "/description"),
        ({"unheard": 1}, ""),
    ],
)
async def test_a_tool_that_cannot_be_used_is_refused_by_field_and_not_stored(
    running: World, fields: dict[str, object], pointer: str
) -> None:
    refused = await running.gateway.act("PUT", f"/tools/{running.named('look')}", TOOL | fields)
    assert (refused.status, refused.code) == (422, "fields_invalid")
    assert [fault["pointer"] for fault in refused.body["errors"]] == [pointer]  # type: ignore[attr-defined]
    assert (await running.gateway.act("GET", f"/tools/{running.named('look')}")).status == 404


async def test_a_function_is_a_tool_too_and_a_name_that_is_none_is_refused(running: World) -> None:
    function = TOOL | {"backend": "lambda", "target": FUNCTION}
    assert (await running.gateway.act("PUT", f"/tools/{running.named('look')}", function)).status == 201
    assert (await running.gateway.act("PUT", "/tools/-look", function)).code == "fields_invalid"


async def test_a_change_decided_on_an_older_state_is_refused(running: World) -> None:
    path = f"/tools/{running.named('look')}"
    assert (await running.gateway.act("PUT", path, TOOL | {"version": 0})).code == "tool_changed"
    for version in (0, 1):
        assert (await running.gateway.act("PUT", path, TOOL)).body["version"] == version
    late = await running.gateway.act("PUT", path, TOOL | {"version": 0})
    assert (late.status, late.code) == (409, "tool_changed")


async def test_a_changed_tool_is_in_force_with_the_next_call(running: World) -> None:
    name = running.named("look")
    assert (await running.gateway.act("PUT", f"/tools/{name}", TOOL)).status == 201
    assert await running.listed() == []
    assert (await running.gateway.act("PUT", f"/tools/{name}", TOOL | {"tierMinimum": "basic"})).status == 200
    assert await running.listed() == ["look"]


async def test_what_is_granted_and_withheld_is_shown_and_told_on_the_tenants_chain(running: World) -> None:
    gateway, name = running.gateway, running.named("look")
    tools = f"/tenants/{gateway.tenant_id}/tools"
    await gateway.act("PUT", f"/tools/{name}", TOOL)
    granted = await gateway.act("PUT", f"{tools}/{name}", {"allowed": True, "reason": "trial"})
    assert (granted.status, granted.body["allowed"], granted.body["tierMinimum"]) == (200, True, "premium")
    assert granted.body in await gateway.listed(tools)
    assert await running.listed() == ["look"]
    withheld = await gateway.act("PUT", f"{tools}/{name}", {"allowed": False, "reason": "misused"})
    assert (withheld.body["allowed"], withheld.body["exception"]["reason"]) == (False, "misused")  # type: ignore[index]
    assert (await gateway.act("DELETE", f"{tools}/{name}", reason="over")).status == 204
    assert await acts(running, tenant=gateway.tenant_id) == [
        ("tool.grant", name, {"allowed": None}, {"allowed": True}, "trial"),
        ("tool.withhold", name, {"allowed": True}, {"allowed": False}, "misused"),
        ("tool.reset", name, {"allowed": False}, {"allowed": None}, "over"),
    ]


async def test_what_there_is_not_is_not_found(running: World) -> None:
    gateway, name = running.gateway, running.named("look")
    tools, granted = f"/tenants/{gateway.tenant_id}/tools", {"allowed": True, "reason": "trial"}
    assert (await gateway.act("PUT", f"{tools}/{name}", granted)).status == 404
    await gateway.act("PUT", f"/tools/{name}", TOOL)
    assert (await gateway.act("DELETE", f"{tools}/{name}", reason="over")).status == 404
    assert (await gateway.act("DELETE", f"{tools}/{name}")).code == "fields_invalid"
    for method, path, body in (
        ("PUT", f"/tenants/nobody-here/tools/{name}", granted),
        ("GET", "/tenants/nobody-here/tools", None),
    ):
        assert (await gateway.act(method, path, body)).status == 404
