"""The private port of several workers: alive, ready only if all are, and their metrics as one process's."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from ops.aggregate import Totals
from ops.workers import Answer, Worker

_PARENT: Final = "parent"
_STARTING: Final = {"ready": False, "wrong": ["worker"]}


class Place(Protocol):
    """A worker's place."""

    number: int
    current: Worker | None
    workers: set[Worker]


class Speaker:
    """Speaks for the workers; set `draining` once they drain."""

    def __init__(self, places: Sequence[Place], metrics: CollectorRegistry) -> None:
        """Add the parent's own `metrics` to those of the workers."""
        self._places = places
        self._metrics = metrics
        self._totals = Totals()
        self.draining = False

    def build(self) -> web.Application:
        """Return the application of the private port."""
        app = web.Application()
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._respond)
        return app

    def ended(self, worker: Worker) -> None:
        """Keep what a worker that has ended counted."""
        self._totals.ended(worker, worker.last_metrics())

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _request: web.Request) -> web.Response:
        answers = await asyncio.gather(*(_state(place.current) for place in self._places))
        ready = not self.draining and all(state["ready"] for state in answers)
        workers = {str(place.number): state for place, state in zip(self._places, answers, strict=True)}
        body = {"ready": ready, "draining": self.draining, "workers": workers}
        return web.Response(status=200 if ready else 503, body=orjson.dumps(body), content_type="application/json")

    async def _respond(self, _request: web.Request) -> web.Response:
        workers = [worker for place in self._places for worker in place.workers]
        labels: dict[object, str] = {place.current: str(place.number) for place in self._places}
        for worker, answer in zip(workers, await asyncio.gather(*map(_metrics, workers)), strict=True):
            # One that has ended meanwhile has had its last word.
            if answer is not None and not worker.ended.is_set():
                self._totals.seen(worker, answer.body)
        self._totals.seen(_PARENT, generate_latest(self._metrics))
        body = self._totals.text(labels | {_PARENT: _PARENT})
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _state(worker: Worker | None) -> dict[str, object]:
    """Return what a worker says of its readiness, and its pid."""
    if worker is None:
        return {"pid": None, **_STARTING}
    answer = await worker.ask("/ready")
    said: dict[str, object] = _STARTING if answer is None else orjson.loads(answer.body)
    return {"pid": worker.process.pid, **said}


async def _metrics(worker: Worker) -> Answer | None:
    return await worker.ask("/metrics")
