"""The ledger: one line each, sums that agree however they are grouped, and days that are added up once."""

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from tenancy.data_models import Mode, Status, UsageDay, UsageRecord
from tenancy.ids import TenantId
from tenancy.ledger import CLOSED_AFTER, Ledger, Used, added, line_of
from tenancy.prices import Price
from tenancy.store import TenantStores
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.tenancy.ledgers import ended, line
from tests.tenancy.samples import NOW, Violations, stores

pytestmark = pytest.mark.stack

TODAY = NOW.date()


@pytest.fixture
def doors(aws: Aws) -> TenantStores:
    return stores(aws, Violations())


async def write(doors: TenantStores, *lines: UsageRecord) -> None:
    for one in lines:
        await doors.db(one.tenant_id).put(one)


def test_what_an_agent_reports_is_charged_and_what_it_does_not_is_estimated_and_says_so() -> None:
    priced = Price(input_1k_microusd=1000, output_1k_microusd=2000)
    record = ended(TenantId("acme"), NOW)

    told = line_of(record, priced, Used(400, 0, answer_bytes=800, tokens=(7, 3)), NOW)
    assumed = line_of(record, priced, Used(400, 0, answer_bytes=800), NOW)

    assert (told.input_tokens, told.output_tokens, told.estimated, told.cost_microusd) == (7, 3, False, 13)
    assert (assumed.input_tokens, assumed.output_tokens, assumed.estimated, assumed.cost_microusd) == (
        100,
        200,
        True,
        500,
    )


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_a_stream_that_was_cut_is_charged_for_all_that_it_passed_on(status: Status) -> None:
    priced, used = Price(output_1k_microusd=2000), Used(400, 0, answer_bytes=800, tokens=(7, 3))
    whole = ended(TenantId("acme"), NOW)

    cut = line_of(whole.model_copy(update={"status": status}), priced, used, NOW)

    assert (cut.input_tokens, cut.output_tokens, cut.estimated, cut.cost_microusd) == (100, 200, True, 400)
    assert line_of(whole, priced, used, NOW).cost_microusd == 6
    in_one_piece = whole.model_copy(update={"status": status, "mode": Mode.SYNC})
    assert line_of(in_one_piece, priced, used, NOW).cost_microusd == 6


async def test_settling_twice_leaves_one_line_even_across_midnight(
    doors: TenantStores, clock: FakeClock, tenant_id: Callable[[], TenantId]
) -> None:
    tenant = tenant_id()
    first = line(tenant, datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC), 5)

    await write(doors, first, first.model_copy(update={"settled_at": NOW, "cost_microusd": 6}))

    assert await Ledger(doors, clock).spent(tenant, "2026-02") == 6
    assert await Ledger(doors, clock).spent(tenant, "2026-03") == 0


async def test_a_day_is_summed_by_agent_and_mode(
    doors: TenantStores, clock: FakeClock, tenant_id: Callable[[], TenantId]
) -> None:
    tenant = tenant_id()
    await write(
        doors, line(tenant, NOW, 5), line(tenant, NOW, 7), line(tenant, NOW, 11, Mode.SYNC), line(tenant_id(), NOW, 100)
    )

    lines = await Ledger(doors, clock).day(tenant, TODAY)

    assert [(one.mode, one.records, one.cost_microusd) for one in lines] == [(Mode.STREAM, 2, 12), (Mode.SYNC, 1, 11)]
    assert added(lines).cost_microusd == 23
    assert added(lines).answer_bytes == 240


async def test_a_closed_day_is_added_up_once_and_anew_when_a_line_comes_late(
    doors: TenantStores, clock: FakeClock, tenant_id: Callable[[], TenantId]
) -> None:
    tenant, ledger = tenant_id(), Ledger(doors, clock)
    early = line(tenant, NOW, 5)
    await write(doors, early)
    await clock.advance(CLOSED_AFTER.total_seconds() + 86_400)

    assert await ledger.spent(tenant, "2026-03") == 5
    assert await doors.db(tenant).get(UsageDay, UsageDay.key_to(tenant, TODAY)) is not None
    late = line(tenant, NOW, 7)
    await write(doors, late)
    assert await ledger.spent(tenant, "2026-03") == 5

    await ledger.reopen(tenant, late.record_id)

    assert await ledger.spent(tenant, "2026-03") == 12


async def test_a_day_that_is_not_over_is_never_kept_as_a_sum(
    doors: TenantStores, clock: FakeClock, tenant_id: Callable[[], TenantId]
) -> None:
    tenant, ledger = tenant_id(), Ledger(doors, clock)
    await write(doors, line(tenant, NOW, 5))
    assert await ledger.spent(tenant, "2026-03") == 5
    await write(doors, line(tenant, NOW, 7))

    assert await ledger.spent(tenant, "2026-03") == 12
    assert await ledger.day(tenant, date(2026, 3, 2)) == ()
