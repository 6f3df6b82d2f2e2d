"""The audit chain on a real store: linked, together with the change or not at all, and telling when it was touched."""

import asyncio
from collections.abc import Callable

import pytest
from boto3.dynamodb.conditions import Attr

from tenancy import tables
from tenancy.chain import BEGINNING, PLATFORM, AuditChain, Commit, Proof, digest, head_line, proven, told
from tenancy.clock import SystemClock
from tenancy.data_models import AuditedChange, AuditEvent, AuditLink, Tenant
from tenancy.errors import ConditionFailedError, StoreBusyError, StoreUnavailableError
from tenancy.ids import TenantId
from tenancy.steps import PutStep
from tenancy.store import TenantStores
from tests.conftest import Aws
from tests.tenancy.samples import Violations, audit_event, stores, tenant

pytestmark = pytest.mark.stack


@pytest.fixture
def doors(aws: Aws) -> TenantStores:
    return stores(aws, Violations())


@pytest.fixture
def chain(doors: TenantStores) -> AuditChain:
    return AuditChain(doors, SystemClock())


@pytest.fixture
def own(tenant_id: Callable[[], TenantId]) -> TenantId:
    return tenant_id()


def event(tenant_id: TenantId) -> AuditEvent:
    changes = (AuditedChange(field="tier", before='"basic"', after='"premium"'),)
    return audit_event(tenant_id).model_copy(update={"outcome": "allowed", "changes": changes})


async def exported(chain: AuditChain, own: TenantId) -> list[dict[str, object]]:
    head = await chain.head(own)
    assert head is not None
    links: list[dict[str, object]] = [{**told(link)} for link in await chain.links(own)]
    return [*links, {**head_line(own, head)}]


def proof(lines: list[dict[str, object]]) -> Proof:
    return proven(lines)  # type: ignore[arg-type]  # tests put anything into a line


async def test_each_event_names_the_one_before_it(chain: AuditChain, own: TenantId) -> None:
    first, second = [await chain.append(event(own)) for _ in range(2)]
    assert (first.seq, first.previous) == (1, BEGINNING)
    assert (second.seq, second.previous) == (2, first.sha256)
    assert await chain.links(own) == (first, second)
    assert await chain.links(own, after=1) == (second,)
    assert proof(await exported(chain, own)) == Proof({own: 2}, ())


async def test_many_at_once_make_one_chain(chain: AuditChain, own: TenantId) -> None:
    await asyncio.gather(*(chain.append(event(own)) for _ in range(12)))
    assert proof(await exported(chain, own)) == Proof({own: 12}, ())


async def test_a_change_and_its_event_are_stored_together(
    chain: AuditChain, doors: TenantStores, own: TenantId
) -> None:
    new = PutStep(tenant(own), Attr(tables.PARTITION_KEY).not_exists())
    await chain.append(event(own), chain.within(own, new))
    assert await doors.db(own).get(Tenant, Tenant.key_of(own, "METADATA")) == tenant(own)
    assert len(await chain.links(own)) == 1


async def test_a_change_that_is_refused_leaves_no_event(chain: AuditChain, own: TenantId) -> None:
    await chain.append(event(own))
    gone = PutStep(tenant(own), Attr("version").eq(7))
    with pytest.raises(ConditionFailedError):
        await chain.append(event(own), chain.within(own, gone))
    assert len(await chain.links(own)) == 1


async def test_an_event_that_was_overtaken_is_linked_anew(chain: AuditChain, own: TenantId) -> None:
    tries: list[int] = []

    def overtaken(commit: Commit) -> Commit:
        async def late(links: object) -> None:
            tries.append(1)
            if len(tries) == 1:
                await chain.append(event(own))
            await commit(links)  # type: ignore[arg-type]

        return late

    link = await chain.append(event(own), overtaken(chain.within(own)))
    assert (link.seq, len(tries)) == (2, 2)
    assert proof(await exported(chain, own)) == Proof({own: 2}, ())


async def test_a_chain_that_is_always_busy_gives_up_and_says_that_it_may_pass(chain: AuditChain, own: TenantId) -> None:
    async def busy(_: object) -> None:
        raise StoreBusyError

    with pytest.raises(StoreUnavailableError):
        await chain.append(event(own), busy)
    assert await chain.head(own) is None


async def test_what_is_told_of_the_platform_names_no_tenant(chain: AuditChain) -> None:
    said = told(await chain.append(event(PLATFORM)))
    assert (said["targetTenant"], said["chain"]) == (None, "platform")
    assert (said["before"], said["after"]) == ({"tier": "basic"}, {"tier": "premium"})
    assert digest(said) == said["sha256"]


TAMPERED: dict[str, tuple[Callable[[list[dict[str, object]]], object], int]] = {
    "a reason changed": (lambda lines: lines[1].update(reason="another"), 2),
    "a reason changed and hashed anew": (
        lambda lines: lines[1].update({"reason": "x", "sha256": digest(lines[1] | {"reason": "x"})}),  # type: ignore[arg-type]
        3,
    ),
    "an event left out": (lambda lines: lines.pop(1), 2),
    "the first left out": (lambda lines: lines.pop(0), 1),
    "the last left out": (lambda lines: lines.pop(2), 2),
    "the last and the head left out": (lambda lines: [lines.pop(), lines.pop()], 2),
    "two exchanged": (lambda lines: lines.insert(0, lines.pop(1)), 1),
    "one twice": (lambda lines: lines.insert(1, lines[0]), 2),
    "the head changed": (lambda lines: lines[-1].update(head={"seq": 3, "sha256": "0" * 64}), 3),
    "the head no head": (lambda lines: lines[-1].update(head=None), 3),
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_whatever_was_touched_the_first_broken_link_is_named(chain: AuditChain, own: TenantId, name: str) -> None:
    for _ in range(3):
        await chain.append(event(own))
    lines = await exported(chain, own)
    tamper, seq = TAMPERED[name]
    tamper(lines)
    (broken,) = proof(lines).breaks
    assert (broken.chain, broken.seq) == (own, seq), broken


async def test_the_store_itself_refuses_a_second_event_of_one_number(
    chain: AuditChain, doors: TenantStores, own: TenantId
) -> None:
    first = await chain.append(event(own))
    with pytest.raises(ConditionFailedError):
        await doors.db(own).put(first, condition=Attr(tables.PARTITION_KEY).not_exists())
    found = await doors.db(own).get(AuditLink, first.key())
    assert found == first
