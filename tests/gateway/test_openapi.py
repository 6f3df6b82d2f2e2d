"""The description says what the routes, the models and the table of problems are, and nothing else."""

import hashlib
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import orjson
import pytest
from aiohttp import ClientSession, web

from gateway.app import ROUTES, build
from gateway.openapi.page import POLICY, page
from gateway.operations import IDEMPOTENCY_KEY, TAGS
from gateway.problems import _CODES, _HTTP, _TABLE
from tenancy.clock import SystemClock
from tenancy.context import TENANT_ROLES
from tenancy.errors import LockgateError
from tests.conftest import Aws
from tests.gateway.described import DOCUMENT, Example, described, examples, problems, responses
from tests.gateway.signing import Forge
from tests.gateway.whole import Whole, whole_gateway

# Answered only where the method is none of the path's.
UNDESCRIBED = {"method_not_allowed"}


def routed(app: web.Application) -> set[tuple[str, str]]:
    """Return (method, path) of everything an application serves; HEAD is GET without the body (RFC 9110, 9.3.2)."""
    routes = [(route.method, route.resource) for route in app.router.routes()]
    return {
        ("GET" if method == "HEAD" else method, resource.canonical)
        for method, resource in routes
        if resource is not None
    }


def test_every_example_fits_its_schema() -> None:
    assert [fault for example in examples() for fault in example.faults()] == []


def test_an_example_that_does_not_fit_is_found() -> None:
    assert Example("here", "x", {"$ref": "#/components/schemas/Job"}).faults()
    assert Example("here", "yesterday", {"type": "string", "format": "date-time"}).faults()


def test_a_problem_is_described_under_its_own_status() -> None:
    assert [(where, status) for where, status, problem in problems() if str(problem["status"]) != status] == []


def test_every_refusal_is_described_by_examples() -> None:
    described_at = {(where, status) for where, status, _ in problems()}
    refusing = {
        (f"{method} {path}", status)
        for method, path, operation in described()
        for status, answer in responses(operation).items()
        # The tools' door refuses some in JSON-RPC alone.
        if status >= "400" and set(answer["content"]) != {"application/json"}
    }
    assert refusing == described_at


def test_every_code_the_table_answers_with_is_described_somewhere() -> None:
    raised = {_CODES.get(kind, kind.code) for kind in _TABLE if issubclass(kind, LockgateError)}
    answered = raised | {code for code, _, _ in _HTTP.values()}
    assert answered - UNDESCRIBED - {problem["code"] for _, _, problem in problems()} == set()


def test_a_problem_that_owes_a_header_is_described_with_it() -> None:
    owed = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}
    missing = [
        f"{method} {path} {status}"
        for method, path, operation in described()
        for status, header in owed.items()
        if status in operation["responses"] and header not in responses(operation)[status]["headers"]
    ]
    assert missing == []


def test_every_operation_but_the_public_ones_needs_a_token_and_names_its_role() -> None:
    for route in ROUTES:
        operation = DOCUMENT["paths"][route.operation.path][route.operation.method.lower()]
        assert operation["x-required-roles"] == ([] if route.operation.role is None else [route.operation.role.value])
        assert (operation["security"] == [{}]) == (route.operation.guard == "public")


def test_whatever_creates_takes_a_key() -> None:
    creating = {
        route.operation.id
        for route in ROUTES
        if route.operation.method == "POST"
        and {201, 202} & {answer.status for answer in route.operation.answers}
        and not route.operation.path.endswith("/cancel")
    }
    keyed = {route.operation.id for route in ROUTES if IDEMPOTENCY_KEY in route.operation.parameters}
    assert {"createInvocation", "createTenant", "bindApplication"} <= creating
    # MCP's 202 takes a notification and creates nothing; its clients send no keys.
    assert creating - keyed == {"callTools"}


def test_operations_are_named_and_grouped() -> None:
    names = [operation["operationId"] for _, _, operation in described()]
    assert len(set(names)) == len(names) == len(ROUTES)
    assert {tag for _, _, operation in described() for tag in operation["tags"]} <= set(TAGS)


class Links(HTMLParser):
    """What a page points to and loads, and the ids it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links |= {str(given["href"])} if tag == "a" else set()
        self.ids += [str(given["id"])] if "id" in given else []
        if tag in {"script", "link", "img", "iframe", "object"} or {"src", "style", "onclick"} & given.keys():
            self.loaded.append(tag)


def test_the_page_loads_nothing_and_every_link_leads_somewhere() -> None:
    found = Links(page(DOCUMENT).decode())
    assert found.loaded == []
    assert {link for link in found.links if link.removeprefix("#") not in found.ids} == {"/v1/openapi.json"}
    assert len(set(found.ids)) == len(found.ids)
    assert {operation["operationId"] for _, _, operation in described()} <= set(found.ids)


def test_the_page_s_policy_allows_its_own_style_alone() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page(DOCUMENT).decode(), re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert POLICY.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]


def test_text_cannot_become_markup() -> None:
    hostile = DOCUMENT | {"info": DOCUMENT["info"] | {"description": "<script>alert(1)</script> `<b>`"}}
    shown = page(hostile).decode()
    assert "<script" not in shown
    assert "<code>&lt;b&gt;</code>" in shown


@pytest.fixture
async def whole(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """Run a gateway; nothing is invoked here."""
    async with whole_gateway(aws, redis_url, monkeypatch, "http://127.0.0.1:1") as running:
        yield running


async def test_what_is_served_is_described_and_what_is_described_is_served(whole: Whole) -> None:
    served = routed(build(whole.process.parts))
    assert served == {(method, path) for method, path, _ in described()}


async def test_the_document_is_served_to_anybody_and_again_only_when_it_changed(whole: Whole) -> None:
    async with ClientSession() as anybody, anybody.get(whole.url + "/v1/openapi.json") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert orjson.loads(await answer.read()) == DOCUMENT
        etag = answer.headers["ETag"]
    for known, status in ((etag, 304), (f'W/"x", {etag}', 304), ("*", 304), ('"other"', 200), ("garbage", 200)):
        async with whole.session.get(whole.url + "/v1/openapi.json", headers={"If-None-Match": known}) as answer:
            assert (answer.status, answer.headers["ETag"]) == (status, etag)


async def test_the_page_is_served_with_its_policy(whole: Whole) -> None:
    async with ClientSession() as anybody, anybody.get(whole.url + "/docs") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert (await answer.read()) == page(DOCUMENT)


async def test_a_route_asks_for_exactly_the_role_it_is_described_with(whole: Whole) -> None:
    """The caller has every role a tenant can have, so only the platform's roles are missing."""
    forge = Forge(whole.authority, SystemClock().now())
    roles_of_tenants = sorted(role.value for role in TENANT_ROLES)
    token = forge.token(azp=whole.tenant_id.removeprefix("t"), roles=roles_of_tenants)
    async with whole.bearing(token) as session:
        for method, path, operation in described():
            roles = operation["x-required-roles"]
            async with session.request(method, re.sub(r"\{\w+\}", "nothing", path)) as answer:
                refused = answer.status == 403 and (await answer.json(content_type=None))["role"]
            assert refused == (roles[0] if roles and roles[0].startswith("Platform.") else False), path
