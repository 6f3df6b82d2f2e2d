"""The private port: liveness, readiness that names what is wrong, and Prometheus metrics. Never exposed to tenants."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

CHECK_TIMEOUT_S: Final = 2.0

# Returns where the part is reachable, raises anything where it is not.
Check = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class PrivatePort:
    """What a process tells its operators: `required` checks decide readiness, the others only say what is degraded."""

    metrics: CollectorRegistry
    required: Mapping[str, Check]
    optional: Mapping[str, Check]
    draining: Callable[[], bool]

    def build(self) -> web.Application:
        """Return the application of the private port."""
        app = web.Application()
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def found(self) -> Mapping[str, str]:
        """Return by name what each check says: `ok`, or what is wrong."""
        checks = dict(self.required) | dict(self.optional)
        answers = await asyncio.gather(*map(_probe, checks.values()))
        return dict(zip(checks, answers, strict=True))

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _request: web.Request) -> web.Response:
        found = await self.found()
        ready = not self.draining() and all(found[name] == "ok" for name in self.required)
        wrong = [name for name, answer in found.items() if answer != "ok"]
        body = {"ready": ready, "draining": self.draining(), "wrong": wrong, "checks": found}
        return web.Response(status=200 if ready else 503, body=orjson.dumps(body), content_type="application/json")

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _probe(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return "no answer"
    except Exception as failure:
        # Whatever a client library raises, readiness must name the part instead of failing itself.
        return type(failure).__name__
    return "ok"
