"""Keys and their answers in the real store, on a clock that tests move."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tenancy.data_models import IdempotencyRecord
from tenancy.errors import ConditionFailedError
from tenancy.idempotency import INLINE_LIMIT_BYTES, KEPT, LEASE_S, Answered, Asked, Idempotency
from tenancy.ids import TenantId
from tenancy.store import TenantStores
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.tenancy.samples import Violations, stores

pytestmark = pytest.mark.stack

ANSWER = Answered(201, {"Location": "/there"}, b'{"a": 1,  "b":"\xc3\xa9"}')


@dataclass(frozen=True)
class Book:
    """The book, one question, and the doors behind them."""

    book: Idempotency
    asked: Asked
    stores: TenantStores
    clock: FakeClock

    async def claim(self) -> IdempotencyRecord:
        claimed = await self.book.claim(self.asked)
        assert claimed is not None
        return claimed

    async def found(self) -> IdempotencyRecord:
        record = await self.book.find(self.asked)
        assert record is not None
        return record


@pytest.fixture
def shelf(aws: Aws, clock: FakeClock, tenant_id: Callable[[], TenantId]) -> Book:
    """Return a book and a question of a new tenant's."""
    doors = stores(aws, Violations())
    return Book(Idempotency(doors, clock), Asked(tenant_id(), "createThing", "k#1", "0" * 64), doors, clock)


async def test_of_many_claims_at_once_one_holds_the_key(shelf: Book) -> None:
    claims = await asyncio.gather(*(shelf.book.claim(shelf.asked) for _ in range(20)))
    assert sum(claim is not None for claim in claims) == 1


async def test_an_answer_is_given_again_byte_for_byte(shelf: Book) -> None:
    await shelf.book.settle(await shelf.claim(), ANSWER)
    assert await shelf.book.claim(shelf.asked) is None
    assert await shelf.book.answer(await shelf.found()) == ANSWER


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe not text", b"x" * INLINE_LIMIT_BYTES, b"x" * (INLINE_LIMIT_BYTES + 1)]
)
async def test_bodies_of_any_kind_and_size_are_kept(shelf: Book, body: bytes) -> None:
    await shelf.book.settle(await shelf.claim(), replace(ANSWER, body=body))
    record = await shelf.found()
    assert (await shelf.book.answer(record)).body == body
    if record.answer_s3_key is not None:
        assert record.answer_s3_key.startswith(f"tenants/{shelf.asked.tenant_id}/idempotency/")


async def test_a_body_that_was_not_kept_is_none(shelf: Book) -> None:
    await shelf.book.settle(await shelf.claim(), replace(ANSWER, body=None))
    assert (await shelf.book.answer(await shelf.found())).body is None


async def test_a_key_given_back_is_as_if_never_used(shelf: Book) -> None:
    await shelf.book.free(await shelf.claim())
    assert await shelf.book.find(shelf.asked) is None
    await shelf.claim()


async def test_a_key_whose_holder_died_is_free_within_its_lease(shelf: Book) -> None:
    await shelf.claim()
    await shelf.clock.advance(LEASE_S - 1)
    assert await shelf.book.claim(shelf.asked) is None
    assert (await shelf.found()).status == "running"
    await shelf.clock.advance(2)
    assert await shelf.book.find(shelf.asked) is None
    await shelf.claim()


async def test_a_key_that_is_renewed_stays_held(shelf: Book) -> None:
    held = await shelf.claim()
    for _ in range(3):
        await shelf.clock.advance(LEASE_S - 1)
        await shelf.book.renew(held)
    await shelf.clock.advance(LEASE_S - 1)
    assert await shelf.book.claim(shelf.asked) is None


async def test_who_lost_the_key_changes_nothing_any_more(shelf: Book) -> None:
    late = await shelf.claim()
    await shelf.clock.advance(LEASE_S + 1)
    held = await shelf.claim()
    with pytest.raises(ConditionFailedError):
        await shelf.book.renew(late)
    await shelf.book.settle(late, replace(ANSWER, body=b"late"))
    await shelf.book.free(late)
    assert (await shelf.found()).holder == held.holder
    await shelf.book.settle(held, ANSWER)
    await shelf.book.settle(late, replace(ANSWER, body=b"late"))
    await shelf.book.free(late)
    assert await shelf.book.answer(await shelf.found()) == ANSWER


async def test_a_key_is_free_again_after_a_day(shelf: Book) -> None:
    await shelf.book.settle(await shelf.claim(), ANSWER)
    await shelf.clock.advance(KEPT.total_seconds() - 1)
    assert await shelf.book.claim(shelf.asked) is None
    await shelf.clock.advance(3)
    assert await shelf.book.find(shelf.asked) is None
    await shelf.claim()


async def test_of_two_transactions_with_one_key_one_is_done(shelf: Book) -> None:
    door = shelf.stores.db(shelf.asked.tenant_id)
    await door.transact([shelf.book.beside(shelf.asked, ANSWER)])
    with pytest.raises(ConditionFailedError):
        await door.transact([shelf.book.beside(shelf.asked, replace(ANSWER, body=b"{}"))])
    assert await shelf.book.answer(await shelf.found()) == ANSWER


async def test_a_key_holds_for_its_tenant_and_operation_alone(shelf: Book, tenant_id: Callable[[], TenantId]) -> None:
    await shelf.book.settle(await shelf.claim(), ANSWER)
    for other in (replace(shelf.asked, tenant_id=tenant_id()), replace(shelf.asked, operation="createOther")):
        assert await shelf.book.find(other) is None
        assert await shelf.book.claim(other) is not None
