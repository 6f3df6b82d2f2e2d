"""A local webhook receiver: verifies what comes as its tenants would, shows it, and fails when it is told to.

`POST /hooks/{name}` takes a delivery and answers 204 where it verifies with the secret of that name, else 401. It
listens on loopback alone, and Lockgate delivers to it only because the dev stack puts it on the allow-list.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError

from ops.devstack.ports import HOST
from ops.devstack.receipts import (
    NAME,
    SHOWN_HEADERS,
    Receipt,
    Receipts,
    ReceiverModel,
    Secret,
    Secrets,
    payload_of,
    type_of,
    why_unverified,
)
from ops.devstack.receiver_faults import Fault, Faults
from ops.devstack.receiver_page import SECURITY, page
from tenancy.clock import Clock, SystemClock

BODY_LIMIT_BYTES: Final = 1_048_576
SHOWN_AT_ONCE: Final = 100

M = TypeVar("M", bound=BaseModel)


class _Told(ReceiverModel):
    secret: Secret


class Receiver:
    """The HTTP side; `state` keeps the secrets over restarts."""

    def __init__(self, state: Path, *, clock: Clock) -> None:
        self._clock: Final = clock
        self._secrets: Final = Secrets(state)
        self._receipts: Final = Receipts()
        self._faults: Final = Faults()

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(client_max_size=BODY_LIMIT_BYTES)
        app.add_routes(
            [
                web.get("/", self._page),
                web.post("/hooks/{name}", self._take),
                web.get("/deliveries", self._list),
                web.delete("/deliveries", self._forget),
                web.get("/deliveries/{id}", self._get),
                web.get("/secrets", self._names),
                web.put("/secrets/{name}", self._tell),
                web.delete("/secrets/{name}", self._untell),
                web.get("/faults", self._waiting),
                web.post("/faults", self._inject),
                web.delete("/faults", self._heal),
            ]
        )
        return app

    async def _take(self, request: web.Request) -> web.StreamResponse:
        name, body = _name_of(request), await request.read()
        receipt = self._receipt(name, request, body)
        self._receipts.add(receipt)
        fault = self._faults.take(name)
        if fault is not None and fault.hang_s:
            await self._clock.sleep(fault.hang_s)
        if fault is not None and fault.drop:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        answer = _answer(receipt, fault)
        self._receipts.answered(receipt, answer.status)
        return answer

    def _receipt(self, name: str, request: web.Request, body: bytes) -> Receipt:
        payload = payload_of(body)
        reason = why_unverified(self._secrets.get(name), name, request.headers, body)
        return Receipt(
            id=request.headers.get("webhook-id", ""),
            name=name,
            type=type_of(payload),
            verified=reason is None,
            reason=reason,
            received_at=self._clock.now(),
            headers={shown: request.headers[shown] for shown in SHOWN_HEADERS if shown in request.headers},
            body=body.decode(errors="replace"),
            payload=payload,
        )

    async def _page(self, _: web.Request) -> web.Response:
        receipts = self._receipts.newest()[:SHOWN_AT_ONCE]
        return web.Response(
            text=page(receipts, self._secrets.names),
            content_type="text/html",
            headers={hdrs.CACHE_CONTROL: "no-store", "Content-Security-Policy": SECURITY},
        )

    async def _list(self, request: web.Request) -> web.Response:
        return _listed(self._receipts.newest(name=request.query.get("name")))

    async def _get(self, request: web.Request) -> web.Response:
        found = self._receipts.newest(webhook_id=request.match_info["id"])
        return _listed(found) if found else _json({"error": "nothing came with this webhook-id"}, 404)

    async def _forget(self, _: web.Request) -> web.Response:
        self._receipts.clear()
        return web.Response(status=204)

    async def _names(self, _: web.Request) -> web.Response:
        return _json({"names": self._secrets.names})

    async def _tell(self, request: web.Request) -> web.Response:
        name = _name_of(request)
        self._secrets.put(name, (await _read(_Told, request)).secret)
        return web.Response(status=204)

    async def _untell(self, request: web.Request) -> web.Response:
        self._secrets.remove(_name_of(request))
        return web.Response(status=204)

    async def _waiting(self, _: web.Request) -> web.Response:
        return _json({"items": [fault.model_dump(mode="json", by_alias=True) for fault in self._faults.waiting]})

    async def _inject(self, request: web.Request) -> web.Response:
        self._faults.inject(await _read(Fault, request))
        return web.Response(status=204)

    async def _heal(self, _: web.Request) -> web.Response:
        self._faults.clear()
        return web.Response(status=204)


def _answer(receipt: Receipt, fault: Fault | None) -> web.Response:
    if fault is not None and fault.status is not None:
        return web.Response(status=fault.status, headers=dict(fault.headers))
    return web.Response(status=204) if receipt.verified else _json({"error": receipt.reason}, 401)


def _name_of(request: web.Request) -> str:
    try:
        return NAME.validate_python(request.match_info["name"])
    except ValidationError:
        raise web.HTTPNotFound from None


async def _read(model: type[M], request: web.Request) -> M:
    # A page of somebody else's cannot send this type without asking first, and is told no.
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as refused:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in refused.errors()]
        text = orjson.dumps({"error": "; ".join(faults)}).decode()
        raise web.HTTPUnprocessableEntity(text=text, content_type="application/json") from None


def _listed(receipts: Sequence[Receipt]) -> web.Response:
    return _json({"items": [receipt.model_dump(mode="json", by_alias=True) for receipt in receipts]})


def _json(document: object, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve on 127.0.0.1 until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m ops.devstack.receiver", description="A local webhook receiver.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="where it keeps its secrets")
    options = parser.parse_args(arguments)
    receiver = Receiver(options.state, clock=SystemClock())
    print(f"webhook receiver on http://{HOST}:{options.port}", flush=True)
    web.run_app(
        receiver.app(),
        host=HOST,
        port=options.port,
        print=None,
        access_log=None,
        # A hang that was asked for ends with its caller, and with the process.
        handler_cancellation=True,
        shutdown_timeout=0.5,
    )


if __name__ == "__main__":
    main()
