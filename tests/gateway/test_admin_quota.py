"""What operators are shown of AgentCore's quota."""

from datetime import UTC, datetime

import pytest

from agents.census import Count
from gateway.admin.quota import QuotaView
from ops.cli.quota import wanted_limit
from tenancy.ids import TenantId

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACME, GLOBEX = TenantId("acme"), TenantId("globex")


@pytest.mark.parametrize(
    ("used", "mark"), [(0, 0), (69, 0), (70, 70), (79, 70), (80, 80), (90, 90), (95, 95), (100, 95), (130, 95)]
)
def test_the_mark_is_the_highest_that_is_reached(used: int, mark: int) -> None:
    view = QuotaView.of(Count(used, {ACME: used}, NOW), 100, NOW, "eu-west-1")
    assert (view.mark, view.percent, view.headroom) == (mark, used, max(0, 100 - used))


@pytest.mark.parametrize(
    ("acme", "globex", "runaway"),
    [(9, 10, []), (12, 12, ["acme", "globex"]), (8, 12, ["globex"]), (30, 70, ["globex"]), (20, 0, ["acme"])],
)
def test_a_tenant_runs_away_with_four_in_ten_of_what_is_not_little(acme: int, globex: int, runaway: list[str]) -> None:
    view = QuotaView.of(Count(acme + globex, {ACME: acme, GLOBEX: globex}, NOW), 100, NOW, "eu-west-1")
    assert [tenant.tenant for tenant in view.tenants if tenant.runaway] == runaway


def test_nothing_in_use_is_no_division_by_nothing() -> None:
    view = QuotaView.of(Count(), 2500, NOW, "eu-west-1")
    assert (view.sessions, view.percent, view.tenants, view.counted_at) == (0, 0, (), NOW)


@pytest.mark.parametrize(("used", "wanted"), [(2000, 5000), (2400, 6000), (500, 2500), (0, 2500)])
def test_what_is_asked_for_leaves_a_third_free_in_two_months(used: int, wanted: int) -> None:
    assert wanted_limit(used, 2500, 25) == wanted
