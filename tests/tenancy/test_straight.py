import orjson
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.serialize import JSONSerializer

from tenancy import straight
from tenancy.data_models import Item, JobRecord
from tenancy.ids import TenantId
from tenancy.straight import StraightSerializer
from tests.conftest import Aws
from tests.tenancy.samples import job

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

    async with aws.session.client("dynamodb", endpoint_url=aws.endpoint_url) as client:
        client.meta.events.register("before-send", note)
        straight.install(client)
        table = aws.table_prefix + "jobs"
        await client.put_item(TableName=table, Item=ITEM)
        found = await client.get_item(TableName=table, Key=KEY, ConsistentRead=True)
        await client.delete_item(TableName=table, Key=KEY)
    assert bodies[0] == orjson.dumps({"TableName": table, "Item": ITEM})
    assert JobRecord.from_item(found["Item"]) == RECORD
