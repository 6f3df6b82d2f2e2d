"""`X-Tenant-Id` over HTTP: it never chooses a tenant, cannot be hidden behind a second one, and costs its sender."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from multidict import CIMultiDict

from tenancy.tiers import LimitOverrides
from tests.agents.upstream import http, upstream
from tests.conftest import Aws
from tests.gateway.whole import Whole, whole_gateway

pytestmark = pytest.mark.stack

BURST = 4


@pytest.fixture
async def gateway(aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """A gateway with a tenant that may make `BURST` requests, and then one in a while."""
    limits = LimitOverrides(requests_per_s=1, burst_requests=BURST)
    async with (
        upstream(http(200, {})) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url, limits=limits) as running,
    ):
        yield running


async def me(gateway: Whole, *named: str) -> tuple[int, str]:
    """Ask who is calling, naming tenants; return the status and the problem's code."""
    headers = CIMultiDict([("X-Tenant-Id", name) for name in named])
    async with gateway.session.get(f"{gateway.url}/v1/me", headers=headers) as answer:
        return answer.status, str((await answer.json(content_type=None)).get("code"))


async def test_another_tenant_cannot_be_named_behind_one_s_own(gateway: Whole) -> None:
    own = gateway.tenant_id
    assert await me(gateway, own, "globex") == (web.HTTPForbidden.status_code, "tenant_mismatch")
    assert await me(gateway, "globex", own) == (web.HTTPForbidden.status_code, "tenant_mismatch")
    assert await me(gateway, own, own) == (web.HTTPOk.status_code, "None")


async def test_naming_others_which_is_audited_each_time_is_bounded_by_the_rate(gateway: Whole) -> None:
    answers = [await me(gateway, "globex") for _ in range(3 * BURST)]
    assert answers[0] == (web.HTTPForbidden.status_code, "tenant_mismatch")
    assert (web.HTTPTooManyRequests.status_code, "rate_limited") in answers
