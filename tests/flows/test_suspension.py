"""What operators do to a tenant is in force on every gateway process: two of them, on one whole stack."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

import pytest
from aiohttp import ClientSession, ClientTimeout

from ops.devstack.aws import store_clients
from ops.devstack.environment import BUCKET, TABLE_PREFIX
from ops.devstack.issuer import SigningKeys, mint
from ops.devstack.people import OPERATOR
from ops.devstack.stack import Stack
from tenancy.clock import SystemClock
from tenancy.context import Role
from tenancy.data_models import AuditedChange, AuditLink, InvocationRecord, Status, TenantItem
from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId
from tenancy.store import TenantStores
from tests.flows.conftest import ECHO, Caller
from tests.flows.events import Event
from tests.flows.test_leaving import until_no_request_runs

pytestmark = pytest.mark.stack

ADMIN = "/v1/admin/tenants"
NEVER_MS = 3_000_000
WAIT_S = 20.0

T = TypeVar("T", bound=TenantItem)


@dataclass(frozen=True, slots=True)
class Application:
    """An application in a directory of its own."""

    directory: str
    client_id: str
    authority: str

    @classmethod
    def of(cls, stack: Stack) -> "Application":
        return cls(str(uuid.uuid4()), str(uuid.uuid4()), stack.ports.url("issuer"))

    @property
    def binding(self) -> dict[str, str]:
        issuer = f"{self.authority}/{self.directory}/v2.0"
        return {"issuer": issuer, "directory": self.directory, "clientId": self.client_id}

    def caller(self, stack: Stack, gateway: str, roles: Iterable[Role] = (Role.AGENT_INVOKE,)) -> Caller:
        token = mint(
            SigningKeys.open(stack.layout.data("issuer")),
            authority=self.authority,
            tid=self.directory,
            client_id=self.client_id,
            roles=roles,
            now=SystemClock().now(),
        )
        headers = {"Authorization": f"Bearer {token}"}
        return Caller(ClientSession(headers=headers, timeout=ClientTimeout(total=30)), gateway)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A tenant nobody else uses, its application, and that application's client of each gateway."""

    id: str
    application: Application
    here: Caller
    there: Caller

    @property
    def path(self) -> str:
        return f"{ADMIN}/{self.id}"


@pytest.fixture
async def fresh(stack: Stack, second_gateway: str, operator: Caller) -> AsyncIterator[Fresh]:
    application, name = Application.of(stack), f"t{uuid.uuid4().hex[:12]}"
    body = {"id": name, "name": "Fresh", "tier": "standard", "bindings": [application.binding]}
    answer, created = await operator.post(ADMIN, body)
    assert (answer.status, answer.headers["Location"]) == (201, f"{ADMIN}/{name}"), created
    async with AsyncExitStack() as closing:
        here, there = (application.caller(stack, gateway) for gateway in (stack.gateway, second_gateway))
        for caller in (here, there):
            await closing.enter_async_context(caller.session)
        yield Fresh(name, application, here, there)


async def patch(caller: Caller, path: str, body: object) -> tuple[int, dict[str, object]]:
    async with caller.session.patch(caller.gateway + path, json=body) as answer:
        return answer.status, await answer.json(content_type=None)


async def unbind(caller: Caller, tenant: Fresh) -> int:
    query = tenant.application.binding | {"reason": "retired"}
    async with caller.session.delete(caller.gateway + tenant.path + "/bindings", params=query) as answer:
        return answer.status


def listed(body: dict[str, object], name: str = "items") -> list[dict[str, object]]:
    found = body[name]
    assert isinstance(found, list)
    return found


async def until_refused(caller: Caller, code: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            status, me = await caller.get("/v1/me")
            if status == 403:
                assert me["code"] == code
                return
            assert status == 200


async def until_served(caller: Caller) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await caller.get("/v1/me"))[0] != 200:
            pass


async def stored(
    stack: Stack, model: type[T], tenant: Fresh, count: int, wanted: Callable[[T], bool] = lambda _: True
) -> list[T]:
    """Return a tenant's stored items that are wanted, oldest first, once there are `count` of them."""

    def unexpected(violation: TenantAccessViolation) -> None:
        raise violation

    owner = TenantId(tenant.id)
    async with store_clients(stack.ports, stack.layout.keys()) as aws, asyncio.timeout(WAIT_S):
        stores = TenantStores(aws.dynamodb, aws.s3, table_prefix=TABLE_PREFIX, bucket=BUCKET, on_violation=unexpected)
        partition = model.key_of(owner, "").partition
        while True:
            page = await stores.db(owner).query(
                model, partition, sort_prefix=model.SORT_PREFIX, limit=50, newest_first=False
            )
            found = [item for item in page.items if wanted(item)]
            if len(found) >= count:
                return found


async def test_a_suspended_tenant_is_refused_on_every_process_until_it_is_reinstated(
    operator: Caller, fresh: Fresh
) -> None:
    for caller in (fresh.here, fresh.there):
        assert (await caller.post(ECHO, caller.echo()))[0].status == 200
    answer, suspended = await operator.post(f"{fresh.path}/suspend", {"reason": "invoice overdue"})
    assert (answer.status, suspended["status"], suspended["statusReason"]) == (200, "suspended", "invoice overdue")
    for caller in (fresh.here, fresh.there):
        await until_refused(caller, "tenant_suspended")
        refused, problem = await caller.post(ECHO, caller.echo())
        assert (refused.status, problem["code"]) == (403, "tenant_suspended")
    answer, again = await operator.post(f"{fresh.path}/suspend", {"reason": "again"})
    assert (answer.status, again) == (200, suspended)
    answer, reinstated = await operator.post(f"{fresh.path}/reinstate", {"reason": "invoice paid"})
    assert (answer.status, reinstated["status"]) == (200, "active")
    for caller in (fresh.here, fresh.there):
        await until_served(caller)
        assert (await caller.post(ECHO, caller.echo()))[0].status == 200


async def test_what_runs_for_a_suspended_tenant_ends_on_every_process(
    stack: Stack, operator: Caller, fresh: Fresh
) -> None:
    begun = asyncio.Semaphore(0)

    async def stream(caller: Caller) -> list[Event]:
        events = []
        async for event in caller.stream(caller.echo(chunks=2, delayMs=NEVER_MS)):
            events.append(event)
            if event.name == "agent.chunk":
                begun.release()
        return events

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        streams = [group.create_task(stream(caller)) for caller in (fresh.here, fresh.there)]
        for _ in streams:
            await begun.acquire()
        await operator.post(f"{fresh.path}/suspend", {"reason": "abuse"})
    for task in streams:
        started, *_, last = task.result()
        ended = {"status": "failed", "code": "tenant_suspended"}
        assert (last.name, last.json) == ("invocation.failed", started.json | ended | {"detail": last.json["detail"]})
    records = await stored(stack, InvocationRecord, fresh, 2, lambda record: record.status is Status.FAILED)
    assert {record.error.code for record in records if record.error is not None} == {"tenant_suspended"}
    for record in records:
        await until_no_request_runs(stack, record.session_id)


async def test_changed_limits_are_in_force_on_every_process(operator: Caller, fresh: Fresh) -> None:
    async def policy(caller: Caller) -> str:
        async with caller.session.get(caller.gateway + "/v1/me") as answer:
            return answer.headers["RateLimit-Policy"]

    for caller in (fresh.here, fresh.there):
        assert await policy(caller) == '"default";q=100;w=2'
    limits = {"requestsPerSecond": 5, "burstRequests": 35}
    status, changed = await patch(operator, fresh.path, {"limits": limits, "reason": "load test", "version": 0})
    assert (status, changed["version"]) == (200, 1)
    in_force: dict[str, object] = {
        "requestsPerSecond": 5,
        "burstRequests": 35,
        "invocationsPerDay": 10_000,
        "concurrentStreams": 50,
        "runningJobs": 20,
        "replaySeconds": 3600,
    }
    assert changed["limits"] == in_force
    for caller in (fresh.here, fresh.there):
        async with asyncio.timeout(WAIT_S):
            while await policy(caller) != '"default";q=35;w=7':
                pass
    _, reset = await patch(operator, fresh.path, {"limits": {"burstRequests": None}, "reason": "done"})
    assert reset["overrides"] == dict.fromkeys(in_force) | {"requestsPerSecond": 5}
    _, retired = await patch(operator, fresh.path, {"limits": None, "tier": "basic", "reason": "downgrade"})
    assert retired["overrides"] == dict.fromkeys(in_force)
    assert (retired["tier"], retired["version"]) == ("basic", 3)


async def test_an_unbound_application_is_refused_on_every_process(operator: Caller, fresh: Fresh) -> None:
    for caller in (fresh.here, fresh.there):
        await until_served(caller)
    _, bound = await operator.get(fresh.path + "/bindings")
    assert [fresh.application.binding | {"createdAt": one["createdAt"]} for one in listed(bound)] == listed(bound)
    assert await unbind(operator, fresh) == 204
    for caller in (fresh.here, fresh.there):
        await until_refused(caller, "directory_unbound")
    assert await unbind(operator, fresh) == 404
    again, _ = await operator.post(fresh.path + "/bindings", fresh.application.binding)
    for caller in (fresh.here, fresh.there):
        await until_served(caller)
    twice, _ = await operator.post(fresh.path + "/bindings", fresh.application.binding)
    assert (again.status, twice.status) == (201, 200)


async def test_an_application_speaks_for_one_tenant(stack: Stack, operator: Caller, fresh: Fresh) -> None:
    taken = fresh.application.binding
    answer, problem = await operator.post(f"{ADMIN}/globex/bindings", taken)
    assert (answer.status, problem["code"]) == (409, "binding_taken")
    other = {"id": f"t{uuid.uuid4().hex[:12]}", "name": "Other", "tier": "basic"}
    free = Application.of(stack).binding
    answer, problem = await operator.post(ADMIN, other | {"bindings": [free, taken]})
    assert (answer.status, problem["code"]) == (409, "binding_taken")
    assert (await operator.get(f"{ADMIN}/{other['id']}"))[0] == 404
    wrong = Fresh("globex", fresh.application, fresh.here, fresh.there)
    assert await unbind(operator, wrong) == 404
    assert (await fresh.here.get("/v1/me"))[0] == 200


async def test_what_operators_did_is_on_the_tenants_trail(stack: Stack, operator: Caller, fresh: Fresh) -> None:
    _, me = await operator.get("/v1/me")
    headers = {"X-Request-Id": f"test-{uuid.uuid4()}"}
    await operator.post(f"{fresh.path}/suspend", {"reason": "abuse"}, headers)
    await operator.post(f"{fresh.path}/suspend", {"reason": "abuse again"})
    await patch(operator, fresh.path, {"tier": "premium", "limits": {"runningJobs": 7}, "reason": "upgrade"})
    await unbind(operator, fresh)
    created, bound, suspended, updated, unbound = await stored(stack, AuditLink, fresh, 5)
    assert [event.operation for event in (created, bound, suspended, updated, unbound)] == [
        "tenant.create",
        "tenant.bind",
        "tenant.suspend",
        "tenant.update",
        "tenant.unbind",
    ]
    assert {(event.actor, event.outcome) for event in (created, bound, suspended, updated, unbound)} == {
        (me["principal"], "allowed")
    }
    assert (suspended.reason, suspended.request_id) == ("abuse", headers["X-Request-Id"])
    assert suspended.changes == (AuditedChange(field="status", before='"active"', after='"suspended"'),)
    assert updated.changes == (
        AuditedChange(field="tier", before='"standard"', after='"premium"'),
        AuditedChange(field="limits.running_jobs", before="null", after="7"),
    )
    assert unbound.target == f"{fresh.application.binding['issuer']} {fresh.application.client_id}"


async def test_a_change_decided_on_an_older_state_is_refused(operator: Caller, fresh: Fresh) -> None:
    await patch(operator, fresh.path, {"monthlyBudgetMicrousd": 5_000_000, "version": 0, "reason": "first"})
    late = {"monthlyBudgetMicrousd": None, "version": 0, "reason": "second"}
    status, problem = await patch(operator, fresh.path, late)
    assert (status, problem["code"]) == (409, "tenant_changed")
    _, tenant = await operator.get(fresh.path)
    assert (tenant["monthlyBudgetMicrousd"], tenant["version"]) == (5_000_000, 1)
    _, unchanged = await patch(operator, fresh.path, {"monthlyBudgetMicrousd": 5_000_000, "reason": "the same"})
    assert unchanged == tenant


async def test_an_id_is_given_once(operator: Caller, fresh: Fresh) -> None:
    answer, problem = await operator.post(ADMIN, {"id": fresh.id, "name": "Impostor", "tier": "basic"})
    assert (answer.status, problem["code"]) == (409, "tenant_exists")
    assert (await operator.get(fresh.path))[1]["name"] == "Fresh"


async def test_all_tenants_are_listed_page_by_page(operator: Caller, fresh: Fresh) -> None:
    names: list[str] = []
    path = f"{ADMIN}?limit=1"
    while True:
        status, page = await operator.get(path)
        assert status == 200
        names += [str(one["id"]) for one in listed(page)]
        if "nextCursor" not in page:
            break
        path = f"{ADMIN}?limit=1&cursor={page['nextCursor']}"
    assert names == sorted(set(names))
    assert {"acme", "globex", fresh.id} <= set(names)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"id": "platform"}, "/id"),
        ({"id": "A B"}, "/id"),
        ({"id": "a--b"}, "/id"),
        ({"name": "two\nlines"}, "/name"),
        ({"name": "  "}, "/name"),
        ({"tier": "gold"}, "/tier"),
        ({"limits": {"requestsPerSecond": 0}}, "/limits/requestsPerSecond"),
        ({"limits": {"requestsPerSecond": "5"}}, "/limits/requestsPerSecond"),
        ({"limits": {"secret": 1}}, "/limits"),
        ({"monthlyBudgetMicrousd": -1}, "/monthlyBudgetMicrousd"),
        ({"redaction": "maybe"}, "/redaction"),
        ({"unknown": 1}, ""),
        ({"bindings": [{"issuer": "https://elsewhere.example/", "directory": "x"}]}, "/bindings/0/directory"),
    ],
)
async def test_a_wrong_field_is_named(operator: Caller, change: dict[str, object], pointer: str) -> None:
    answer, problem = await operator.post(ADMIN, {"id": "never-made", "name": "Never", "tier": "basic"} | change)
    assert (answer.status, problem["code"]) == (422, "fields_invalid")
    assert pointer in [fault["pointer"] for fault in listed(problem, "errors")]
    assert (await operator.get(f"{ADMIN}/never-made"))[0] == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reason": "nothing"}, ""),
        ({"tier": "basic"}, "/reason"),
        ({"tier": None, "reason": "x"}, "/tier"),
        ({"name": "Other", "reason": "x"}, ""),
        ({"tier": "basic", "reason": "a\u0000b"}, "/reason"),
    ],
)
async def test_a_change_says_what_and_why(operator: Caller, fresh: Fresh, body: object, pointer: str) -> None:
    status, problem = await patch(operator, fresh.path, body)
    assert (status, problem["code"]) == (422, "fields_invalid")
    assert pointer in [fault["pointer"] for fault in listed(problem, "errors")]


async def test_an_issuer_whose_tokens_would_never_be_accepted_is_refused(operator: Caller, fresh: Fresh) -> None:
    stranger = fresh.application.binding | {"issuer": "https://elsewhere.example/v2.0"}
    answer, problem = await operator.post(fresh.path + "/bindings", stranger)
    assert (answer.status, [fault["pointer"] for fault in listed(problem, "errors")]) == (422, ["/issuer"])


async def test_what_is_no_tenant_is_not_found(operator: Caller) -> None:
    for name in ("nobody-here", "platform", "NOT%20ONE"):
        answers = [
            await operator.get(f"{ADMIN}/{name}"),
            await patch(operator, f"{ADMIN}/{name}", {"tier": "basic", "reason": "x"}),
            await operator.get(f"{ADMIN}/{name}/bindings"),
        ]
        for verb in ("suspend", "reinstate"):
            answer, problem = await operator.post(f"{ADMIN}/{name}/{verb}", {"reason": "x"})
            answers.append((answer.status, problem))
        assert [(status, problem["code"]) for status, problem in answers] == [(404, "not_found")] * 5


CALLS = [
    ("GET", ADMIN, Role.PLATFORM_OPERATOR),
    ("POST", ADMIN, Role.PLATFORM_ADMIN),
    ("GET", f"{ADMIN}/globex", Role.PLATFORM_OPERATOR),
    ("PATCH", f"{ADMIN}/globex", Role.PLATFORM_ADMIN),
    ("POST", f"{ADMIN}/globex/suspend", Role.PLATFORM_OPERATOR),
    ("POST", f"{ADMIN}/globex/reinstate", Role.PLATFORM_OPERATOR),
    ("GET", f"{ADMIN}/globex/bindings", Role.PLATFORM_OPERATOR),
    ("POST", f"{ADMIN}/globex/bindings", Role.PLATFORM_ADMIN),
    ("DELETE", f"{ADMIN}/globex/bindings", Role.PLATFORM_ADMIN),
]


async def refusals(caller: Caller, calls: Iterable[tuple[str, str, Role]]) -> list[tuple[int, object, object]]:
    found: list[tuple[int, object, object]] = []
    for method, path, _ in calls:
        async with caller.session.request(method, caller.gateway + path, json={"reason": "x"}) as answer:
            problem = await answer.json(content_type=None)
        found.append((answer.status, problem["code"], problem.get("role")))
    return found


async def test_no_tenant_administers_whatever_its_directory_calls_it(stack: Stack, fresh: Fresh) -> None:
    caller = fresh.application.caller(stack, stack.gateway, Role)
    async with caller.session:
        assert await refusals(caller, CALLS) == [(403, "role_missing", role) for _, _, role in CALLS]


async def test_each_operation_needs_its_own_role(stack: Stack) -> None:
    for role, other in (
        (Role.PLATFORM_OPERATOR, Role.PLATFORM_ADMIN),
        (Role.PLATFORM_ADMIN, Role.PLATFORM_OPERATOR),
    ):
        application = Application(OPERATOR.directory, OPERATOR.client_id, stack.ports.url("issuer"))
        caller = application.caller(stack, stack.gateway, (role,))
        theirs = [call for call in CALLS if call[2] is other]
        async with caller.session:
            assert await refusals(caller, theirs) == [(403, "role_missing", other)] * len(theirs)
