from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.awsrequest import AWSPreparedRequest
from botocore.serialize import JSONSerializer

from agents.upstream import open_upstream
from ops.outbound import StorePost
from tenancy import client_guard, straight
from tenancy.clock import SystemClock
from tenancy.data_models import Item, JobRecord
from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId
from tenancy.scope import TenantScope, entered
from tenancy.straight import StraightSerializer
from tests.conftest import Aws
from tests.tenancy.samples import Violations, job

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import WriteRequestUnionTypeDef

pytestmark = pytest.mark.stack

RECORD = job(TenantId("acme"), text='{"a": "\\u00e9 \\n \U0001f600"}', owed=True)
ITEM = RECORD.to_item()
KEY = RECORD.key().to_item()
VALUES: Item = {":v": {"N": "1"}, ":l": {"L": [{"NULL": True}, {"BOOL": False}, {"M": {"x": {"SS": ["a"]}}}]}}
CALLS: dict[str, dict[str, object]] = {
    "GetItem": {"TableName": "t", "Key": KEY, "ConsistentRead": True},
    "PutItem": {"TableName": "t", "Item": ITEM, "ConditionExpression": "attribute_not_exists(#n0)"},
    "UpdateItem": {
        "TableName": "t",
        "Key": KEY,
        "UpdateExpression": "SET #a = :v",
        "ExpressionAttributeValues": VALUES,
    },
    "DeleteItem": {"TableName": "t", "Key": KEY},
    "Query": {"TableName": "t", "KeyConditionExpression": "#pk = :pk", "Limit": 5, "ScanIndexForward": False},
    "BatchWriteItem": {"RequestItems": {"t": [{"PutRequest": {"Item": ITEM}}, {"DeleteRequest": {"Key": KEY}}]}},
    "TransactWriteItems": {"TransactItems": [{"Put": {"TableName": "t", "Item": ITEM}}]},
}


@pytest.mark.parametrize("operation", CALLS)
async def test_a_request_says_what_botocore_would_have_said(aws: Aws, operation: str) -> None:
    model = aws.dynamodb.meta.service_model.operation_model(operation)
    ours = StraightSerializer().serialize_to_request(CALLS[operation], model)
    theirs = JSONSerializer().serialize_to_request(CALLS[operation], model)
    assert orjson.loads(ours.pop("body")) == orjson.loads(theirs.pop("body"))
    assert ours == theirs


async def test_bytes_are_refused(aws: Aws) -> None:
    model = aws.dynamodb.meta.service_model.operation_model("PutItem")
    with pytest.raises(TypeError):
        StraightSerializer().serialize_to_request({"TableName": "t", "Item": {"a": {"B": b"x"}}}, model)


async def test_a_clients_requests_are_written_straight(aws: Aws) -> None:
    bodies: list[bytes] = []

    def note(request: AWSPreparedRequest, **_: object) -> None:
        assert isinstance(request.body, bytes)
        bodies.append(request.body)

    async with aws.session.client("dynamodb", endpoint_url=aws.dynamodb.meta.endpoint_url) as client:
        client.meta.events.register("before-send", note)
        straight.install(client)
        table = aws.table_prefix + "jobs"
        await client.put_item(TableName=table, Item=ITEM)
        found = await client.get_item(TableName=table, Key=KEY, ConsistentRead=True)
        await client.delete_item(TableName=table, Key=KEY)
    assert bodies[0] == orjson.dumps({"TableName": table, "Item": ITEM})
    assert JobRecord.from_item(found["Item"]) == RECORD


# Status (0 ends the connection), headers, body.
Said: TypeAlias = tuple[int, dict[str, str], bytes]


@dataclass
class Front:
    """A store's front door: how straight batches are answered, and who came by which way."""

    answers: list[Said] = field(default_factory=list)
    seen: list[tuple[str, bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        by = "straight" if "lockgate-test" in request.headers.get("Authorization", "") else "botocore"
        self.seen.append((by, await request.read()))
        # Made anew for each use: an answer belongs to one request.
        status, headers, body = self.answers.pop(0) if self.answers else (200, {}, b'{"UnprocessedItems":{}}')
        if status == 0 and request.transport is not None:
            request.transport.abort()
        return web.Response(status=status or 200, headers=headers, body=body)

    @property
    def ways(self) -> list[str]:
        return [way for way, _ in self.seen]


async def sign(headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
    assert headers["Host"]
    assert orjson.loads(body)
    return {"Authorization": "lockgate-test"}


@asynccontextmanager
async def behind(aws: Aws, front: Front, violations: Violations) -> "AsyncIterator[DynamoDBClient]":
    app = web.Application()
    app.router.add_post("/", front.answer)
    async with (
        TestServer(app) as server,
        open_upstream(str(server.make_url("/")), clock=SystemClock()) as upstream,
        aws.session.client("dynamodb", endpoint_url=str(server.make_url("/"))) as client,
    ):
        straight.install(client, StorePost(upstream), sign)
        client_guard.install(client, table_prefix="p-", bucket="b", on_violation=violations)
        with entered(TenantScope(TenantId("acme"))):
            yield client


BATCH: "Mapping[str, list[WriteRequestUnionTypeDef]]" = {"p-jobs": [{"PutRequest": {"Item": ITEM}}]}


async def test_a_batch_goes_straight(aws: Aws) -> None:
    front = Front()
    async with behind(aws, front, Violations()) as client:
        answer = await client.batch_write_item(RequestItems=BATCH)
    assert answer["UnprocessedItems"] == {}
    assert front.seen == [("straight", orjson.dumps({"RequestItems": BATCH}))]


async def test_what_was_not_taken_is_told(aws: Aws) -> None:
    left = orjson.dumps({"UnprocessedItems": BATCH})
    front = Front([(200, {"x-amz-crc32": str(crc32(left))}, left)])
    async with behind(aws, front, Violations()) as client:
        answer = await client.batch_write_item(RequestItems=BATCH)
    assert answer["UnprocessedItems"] == BATCH


@pytest.mark.parametrize(
    "answer",
    [
        (0, {}, b""),
        (500, {}, b""),
        (400, {}, b'{"__type":"ThrottlingException"}'),
        (200, {}, b"half an ans"),
        (200, {}, b"[]"),
        (200, {"x-amz-crc32": "1"}, b'{"UnprocessedItems":{}}'),
    ],
    ids=["cut off", "5xx", "throttled", "no JSON", "another JSON", "changed on its way"],
)
async def test_what_is_not_a_plain_yes_is_asked_again_by_botocore(aws: Aws, answer: Said) -> None:
    front = Front([answer])
    async with behind(aws, front, Violations()) as client:
        told = await client.batch_write_item(RequestItems=BATCH)
    assert told["UnprocessedItems"] == {}
    assert front.ways == ["straight", "botocore"]
    assert front.seen[0][1] == front.seen[1][1]


async def test_a_straight_batch_is_judged_before_it_leaves(aws: Aws) -> None:
    front, violations = Front(), Violations()
    async with behind(aws, front, violations) as client:
        with entered(TenantScope(TenantId("acme"))), pytest.raises(TenantAccessViolation):
            foreign = job(TenantId("globex"), text="{}").to_item()
            await client.batch_write_item(RequestItems={"p-jobs": [{"PutRequest": {"Item": foreign}}]})
    assert front.seen == []
    assert [violation.layer for violation in violations] == ["client_guard"]
