"""How the stack registers its webhooks where the gateway is not as it should be; the flows have the rest."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ops.devstack.dev_files import DevTenant
from ops.devstack.hooks import Hooks
from ops.devstack.layout import Layout
from ops.devstack.ports import Ports
from ops.devstack.process import PartFailedError
from ops.devstack.receiver import Receiver
from tenancy.clock import SystemClock
from tenancy.ids import TenantId
from tenancy.tiers import Tier

TENANTS = {TenantId("acme"): DevTenant(tier=Tier.BASIC, token="aaa")}
SECRET = "whsec_" + "A" * 43 + "="
HOOK = "wh_01jd3k5m7p9q1r3s5t7v9w1x3y"


class Gateway:
    """Answers as one with a single webhook would, and writes down what it was asked."""

    def __init__(self, *, url: str = "", status: int = 200) -> None:
        self.url = url
        self.status = status
        self.asked: list[tuple[str, str, object]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path, body))
        hook = {"id": HOOK, "url": self.url}
        listed = {"items": [hook] if self.url else []}
        shown = listed if request.method == "GET" else hook | {"url": "x", "secret": SECRET}
        return web.json_response(shown, status=self.status)


@asynccontextmanager
async def stack_of(gateway: Gateway, state: Path) -> AsyncIterator[tuple[Hooks, Ports, Layout]]:
    layout = Layout(state)
    layout.make()
    receiver = Receiver(layout.data("receiver"), clock=SystemClock())
    async with TestServer(gateway.app()) as api, TestServer(receiver.app()) as sink:
        assert api.port is not None
        assert sink.port is not None
        ports = replace(Ports.free(), gateway=api.port, receiver=sink.port)
        yield Hooks(layout, ports), ports, layout


async def test_what_is_missing_is_registered_and_its_secret_told(tmp_path: Path) -> None:
    gateway = Gateway()
    async with stack_of(gateway, tmp_path) as (hooks, ports, layout):
        await hooks.register(TENANTS)
        created = {"url": f"{ports.url('receiver')}/hooks/acme", "description": "the local receiver"}
        assert gateway.asked == [("GET", "/v1/webhooks", None), ("POST", "/v1/webhooks", created)]
        assert SECRET in (layout.data("receiver") / "secrets.json").read_text()


async def test_a_webhook_of_a_start_on_other_ports_is_sent_here(tmp_path: Path) -> None:
    gateway = Gateway(url="http://127.0.0.1:9/hooks/acme")
    async with stack_of(gateway, tmp_path) as (hooks, ports, _):
        await hooks.register(TENANTS)
        assert ("PATCH", f"/v1/webhooks/{HOOK}", {"url": f"{ports.url('receiver')}/hooks/acme"}) in gateway.asked
        assert ("POST", f"/v1/webhooks/{HOOK}/rotate-secret", {}) in gateway.asked


@pytest.mark.parametrize("status", [403, 429, 500, 503])
async def test_a_tenant_that_is_not_served_and_a_gateway_that_is_not_well_are_left_for_later(
    tmp_path: Path, status: int
) -> None:
    async with stack_of(Gateway(status=status), tmp_path) as (hooks, _, layout):
        await hooks.register(TENANTS)
        assert not (layout.data("receiver") / "secrets.json").exists()


async def test_parts_that_are_away_are_left_for_later(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    await Hooks(layout, Ports.free()).register(TENANTS)


async def test_an_answer_that_nothing_explains_fails_the_step_with_the_answer_in_its_log(tmp_path: Path) -> None:
    async with stack_of(Gateway(status=404), tmp_path) as (hooks, _, layout):
        with pytest.raises(PartFailedError) as failed:
            await hooks.register(TENANTS)
    assert failed.value.part == "webhooks"
    assert "HTTP 404" in layout.log("webhooks").read_text()
