"""A store that answers as it is told: the faults of AWS that the real local store does not make."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.config import Config

from tenancy.data_models import TenantItem
from tenancy.store import TenantStores
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.tenancy.samples import Violations

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

Answer: TypeAlias = Callable[[bytes], web.Response | None]
"""From a request's body to the answer; None breaks the connection off."""


def error(status: int, code: str, **more: object) -> Answer:
    """Answer a DynamoDB error."""
    body = orjson.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": code, **more})
    return lambda _: web.Response(status=status, body=body, content_type="application/x-amz-json-1.0")


def text(status: int, body: str, content_type: str = "application/xml") -> Answer:
    """Answer this text."""
    return lambda _: web.Response(status=status, text=body, content_type=content_type)


def unprocessed(count: int) -> Answer:
    """Hand the last `count` requests of each table of a batch back."""

    def answer(request: bytes) -> web.Response:
        tables = orjson.loads(request)["RequestItems"]
        left = {name: requests[-count:] for name, requests in tables.items()} if count else {}
        return web.Response(body=orjson.dumps({"UnprocessedItems": left}), content_type="application/x-amz-json-1.0")

    return answer


def holding(item: TenantItem) -> Answer:
    """Answer a read with this item."""
    found = {"Item": item.to_item()}
    return lambda _: web.Response(body=orjson.dumps(found), content_type="application/x-amz-json-1.0")


def hang_up(_: bytes) -> None:
    """Break the connection off."""
    return


@dataclass(slots=True)
class Faulty:
    """Doors over the faulty store, and the bodies it got; the time its callers wait for passes at once."""

    doors: TenantStores
    dynamodb: "DynamoDBClient"
    bodies: list[bytes]


@asynccontextmanager
async def faulty(aws: Aws, *answers: Answer, attempts: int = 1) -> AsyncIterator[Faulty]:
    """Run a store that gives these answers in turn, the last one for ever, to a client of that many attempts."""
    left = list(answers)
    bodies: list[bytes] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        answer = left.pop(0) if len(left) > 1 else left[0]
        response = answer(bodies[-1])
        if response is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    config = Config(retries={"total_max_attempts": attempts}, connect_timeout=5, read_timeout=5)
    async with TestServer(app) as server:
        url = str(server.make_url("/"))
        async with (
            aws.session.client("dynamodb", endpoint_url=url, config=config) as dynamodb,
            aws.session.client("s3", endpoint_url=url, config=config) as s3,
        ):
            clock = FakeClock()
            doors = TenantStores(
                dynamodb,
                s3,
                table_prefix=aws.table_prefix,
                bucket=aws.bucket,
                on_violation=Violations(),
                clock=clock,
            )
            passing = asyncio.create_task(clock.run())
            yield Faulty(doors, dynamodb, bodies)
            passing.cancel()
