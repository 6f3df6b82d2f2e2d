"""The guard on the AWS clients, alone: raw calls on the real store, no door in between.

Each attack is shown to be real: the same call on an unguarded client gets through.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pytest

from tenancy import client_guard
from tenancy.errors import TenantAccessViolation
from tenancy.ids import JobId, TenantId
from tenancy.reach import VERBS
from tenancy.scope import PlatformScope, TenantScope, entered
from tests.conftest import Aws
from tests.tenancy.samples import Violations, job, stores

pytestmark = pytest.mark.stack

JOB = JobId("job_00000000000000000000000000")


@dataclass(frozen=True, slots=True)
class World:
    """A guarded client pair, the same unguarded, the acting tenant and its victim with one job and one object each."""

    guarded: Aws
    bare: Aws
    own: TenantId
    victim: TenantId
    violations: Violations
    upload_id: str


@dataclass(frozen=True, slots=True)
class Hand:
    """What an attack has in hand: raw clients (untyped: attacks are malformed on purpose) and names."""

    db: Any
    s3: Any
    prefix: str
    bucket: str
    own: TenantId
    victim: TenantId
    upload_id: str

    @property
    def jobs(self) -> str:
        return self.prefix + "jobs"

    def key(self, tenant: TenantId | None = None) -> dict[str, Any]:
        return {"pk": {"S": f"TENANT#{tenant or self.victim}"}, "sk": {"S": f"JOB#{JOB}"}}

    def item(self, tenant: TenantId | None = None, **more: dict[str, str]) -> dict[str, Any]:
        return self.key(tenant) | {"tenant_id": {"S": tenant or self.victim}} | more

    @property
    def statement(self) -> str:
        victim = f"TENANT#{self.victim}"
        return f"SELECT * FROM \"{self.jobs}\" WHERE pk='{victim}' AND sk='JOB#{JOB}'"  # noqa: S608  # the attack

    def path(self, tenant: TenantId | None = None) -> str:
        return f"tenants/{tenant or self.victim}/secret"


Attack: TypeAlias = Callable[[Hand], Awaitable[Any]]


@pytest.fixture
async def world(aws: Aws, tenant_id: Callable[[], TenantId]) -> AsyncIterator[World]:
    own = tenant_id()
    # One is the beginning of the other: only an exact comparison tells them apart.
    victim = TenantId(own + "1")
    violations = Violations()
    started = await aws.s3.create_multipart_upload(Bucket=aws.bucket, Key=f"tenants/{own}/secret")
    async with (
        aws.session.client("dynamodb", endpoint_url=aws.endpoint_url) as dynamodb,
        aws.session.client("s3", endpoint_url=aws.endpoint_url) as s3,
    ):
        for client in (dynamodb, s3):
            client_guard.install(client, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=violations)
        yield World(replace(aws, dynamodb=dynamodb, s3=s3), aws, own, victim, violations, started["UploadId"])


def hand(world: World, *, guarded: bool) -> Hand:
    aws = world.guarded if guarded else world.bare
    return Hand(aws.dynamodb, aws.s3, aws.table_prefix, aws.bucket, world.own, world.victim, world.upload_id)


PK = {"#pk": "pk"}

ITEM_ATTACKS: dict[str, Attack] = {
    "get": lambda h: h.db.get_item(TableName=h.jobs, Key=h.key()),
    "put": lambda h: h.db.put_item(TableName=h.jobs, Item=h.item()),
    "put of an item that says it is another's": lambda h: h.db.put_item(
        TableName=h.jobs, Item=h.item(h.own) | {"tenant_id": {"S": h.victim}}
    ),
    "put of an item that does not say whose it is": lambda h: h.db.put_item(TableName=h.jobs, Item=h.key(h.own)),
    "put into another's place in the sweeper's index": lambda h: h.db.put_item(
        TableName=h.jobs,
        Item=h.item(h.own, sweep_pk={"S": "SWEEP#0"}, sweep_sk={"S": f"2026-01-01#{h.victim}#{JOB}"}),
    ),
    "put into an index partition of another": lambda h: h.db.put_item(
        TableName=h.jobs, Item=h.item(h.own, sweep_pk={"S": f"TENANT#{h.victim}#x"}, sweep_sk={"S": "x"})
    ),
    "update": lambda h: h.db.update_item(
        TableName=h.jobs,
        Key=h.key(),
        UpdateExpression="SET #a = :a",
        ExpressionAttributeNames={"#a": "status"},
        ExpressionAttributeValues={":a": {"S": "failed"}},
        ReturnValues="ALL_NEW",
    ),
    "update of whose item it is": lambda h: h.db.update_item(
        TableName=h.jobs,
        Key=h.key(h.own),
        UpdateExpression="SET #a = :a",
        ExpressionAttributeNames={"#a": "tenant_id"},
        ExpressionAttributeValues={":a": {"S": h.victim}},
    ),
    "removal of whose item it is": lambda h: h.db.update_item(
        TableName=h.jobs,
        Key=h.key(h.own),
        UpdateExpression="REMOVE #a",
        ExpressionAttributeNames={"#a": "tenant_id"},
    ),
    "update into another's place in the sweeper's index": lambda h: h.db.update_item(
        TableName=h.jobs,
        Key=h.key(h.own),
        UpdateExpression="SET #a = :a",
        ExpressionAttributeNames={"#a": "sweep_sk"},
        ExpressionAttributeValues={":a": {"S": f"2026-01-01#{h.victim}#{JOB}"}},
    ),
    "update that names its attribute in clear": lambda h: h.db.update_item(
        TableName=h.jobs,
        Key=h.key(h.own),
        UpdateExpression="SET tenant_id = :a",
        ExpressionAttributeValues={":a": {"S": h.victim}},
    ),
    "update by a function": lambda h: h.db.update_item(
        TableName=h.jobs,
        Key=h.key(h.own),
        UpdateExpression="SET #a = if_not_exists(#b, :a)",
        ExpressionAttributeNames={"#a": "tenant_id", "#b": "nothing"},
        ExpressionAttributeValues={":a": {"S": h.victim}},
    ),
    "update by legacy parameters": lambda h: h.db.update_item(
        TableName=h.jobs,
        Key=h.key(h.own),
        AttributeUpdates={"tenant_id": {"Value": {"S": h.victim}, "Action": "PUT"}},
    ),
    "delete": lambda h: h.db.delete_item(TableName=h.jobs, Key=h.key(), ReturnValues="ALL_OLD"),
    "query": lambda h: h.db.query(
        TableName=h.jobs,
        KeyConditionExpression="#pk = :pk",
        ExpressionAttributeNames=PK,
        ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.victim}"}},
    ),
    "query with the key in clear": lambda h: h.db.query(
        TableName=h.jobs,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.victim}"}},
    ),
    "query in brackets": lambda h: h.db.query(
        TableName=h.jobs,
        KeyConditionExpression="(#pk = :pk)",
        ExpressionAttributeNames=PK,
        ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.victim}"}},
    ),
    "query with the conditions turned round": lambda h: h.db.query(
        TableName=h.jobs,
        KeyConditionExpression="#sk = :sk AND #pk = :pk",
        ExpressionAttributeNames={"#pk": "pk", "#sk": "sk"},
        ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.victim}"}, ":sk": {"S": f"JOB#{JOB}"}},
    ),
    "query by legacy parameters": lambda h: h.db.query(
        TableName=h.jobs,
        KeyConditions={
            "pk": {"AttributeValueList": [{"S": f"TENANT#{h.victim}"}], "ComparisonOperator": "EQ"},
        },
    ),
    "query starting at another's key": lambda h: h.db.query(
        TableName=h.jobs,
        KeyConditionExpression="#pk = :pk",
        ExpressionAttributeNames=PK,
        ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.victim}"}},
        ExclusiveStartKey={"pk": {"S": f"TENANT#{h.victim}"}, "sk": {"S": "A"}},
    ),
    "query of the sweeper's index": lambda h: h.db.query(
        TableName=h.jobs,
        IndexName="sweep",
        KeyConditionExpression="#pk = :pk",
        ExpressionAttributeNames={"#pk": "sweep_pk"},
        ExpressionAttributeValues={":pk": {"S": "SWEEP#0"}},
    ),
    "query of the sweeper's index in one's own name": lambda h: h.db.query(
        TableName=h.jobs,
        IndexName="sweep",
        KeyConditionExpression="#pk = :pk",
        ExpressionAttributeNames={"#pk": "sweep_pk"},
        ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.own}#x"}},
    ),
    "batch get": lambda h: h.db.batch_get_item(RequestItems={h.jobs: {"Keys": [h.key(h.own), h.key()]}}),
    "batch put": lambda h: h.db.batch_write_item(
        RequestItems={h.jobs: [{"PutRequest": {"Item": h.item(h.own)}}, {"PutRequest": {"Item": h.item()}}]}
    ),
    "batch delete": lambda h: h.db.batch_write_item(RequestItems={h.jobs: [{"DeleteRequest": {"Key": h.key()}}]}),
    "batch put into a platform table": lambda h: h.db.batch_write_item(
        RequestItems={h.prefix + "agents": [{"PutRequest": {"Item": h.item(h.own)}}]}
    ),
    "transaction with a foreign put": lambda h: h.db.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": h.prefix + "outbox", "Item": h.item(h.own)}},
            {"Put": {"TableName": h.jobs, "Item": h.item()}},
        ]
    ),
    "transaction with a foreign update": lambda h: h.db.transact_write_items(
        TransactItems=[
            {
                "Update": {
                    "TableName": h.jobs,
                    "Key": h.key(),
                    "UpdateExpression": "SET #a = :a",
                    "ExpressionAttributeNames": {"#a": "status"},
                    "ExpressionAttributeValues": {":a": {"S": "failed"}},
                }
            }
        ]
    ),
    "transaction with a foreign delete": lambda h: h.db.transact_write_items(
        TransactItems=[{"Delete": {"TableName": h.jobs, "Key": h.key()}}]
    ),
    "transaction with a foreign condition": lambda h: h.db.transact_write_items(
        TransactItems=[
            {"ConditionCheck": {"TableName": h.jobs, "Key": h.key(), "ConditionExpression": "attribute_exists(pk)"}}
        ]
    ),
    "transaction that reads": lambda h: h.db.transact_get_items(
        TransactItems=[{"Get": {"TableName": h.jobs, "Key": h.key()}}]
    ),
    "scan": lambda h: h.db.scan(TableName=h.jobs),
    "scan of an index": lambda h: h.db.scan(TableName=h.jobs, IndexName="sweep"),
    "PartiQL": lambda h: h.db.execute_statement(Statement=h.statement),
    "PartiQL batch": lambda h: h.db.batch_execute_statement(Statements=[{"Statement": h.statement}]),
    "PartiQL transaction": lambda h: h.db.execute_transaction(TransactStatements=[{"Statement": h.statement}]),
    "get from a platform table": lambda h: h.db.get_item(
        TableName=h.prefix + "identity-bindings", Key={"pk": {"S": "BINDING#x"}, "sk": {"S": "METADATA"}}
    ),
    "get by the table's ARN": lambda h: h.db.get_item(
        TableName=f"arn:aws:dynamodb:eu-west-2:000000000000:table/{h.jobs}", Key=h.key()
    ),
    "list of tables": lambda h: h.db.list_tables(),
    "description of a table": lambda h: h.db.describe_table(TableName=h.jobs),
    "get by a paginator's way": lambda h: h.db.get_paginator("scan").paginate(TableName=h.jobs).build_full_result(),
}

OBJECT_ATTACKS: dict[str, Attack] = {
    "get": lambda h: h.s3.get_object(Bucket=h.bucket, Key=h.path()),
    "head": lambda h: h.s3.head_object(Bucket=h.bucket, Key=h.path()),
    "put": lambda h: h.s3.put_object(Bucket=h.bucket, Key=h.path(), Body=b"x"),
    "put that sends readers elsewhere": lambda h: h.s3.put_object(
        Bucket=h.bucket, Key=h.path(h.own), Body=b"x", WebsiteRedirectLocation="https://elsewhere.example/"
    ),
    "put that climbs": lambda h: h.s3.put_object(Bucket=h.bucket, Key=f"tenants/{h.own}/../{h.victim}/x", Body=b"x"),
    "put that climbs in code": lambda h: h.s3.put_object(
        Bucket=h.bucket, Key=f"tenants/{h.own}/%2e%2e/{h.victim}/x", Body=b"x"
    ),
    "put with a gap": lambda h: h.s3.put_object(Bucket=h.bucket, Key=f"tenants/{h.own}//x", Body=b"x"),
    "put with a line end": lambda h: h.s3.put_object(Bucket=h.bucket, Key=f"tenants/{h.own}/x\ny", Body=b"x"),
    "delete": lambda h: h.s3.delete_object(Bucket=h.bucket, Key=h.path()),
    "delete of many": lambda h: h.s3.delete_objects(
        Bucket=h.bucket, Delete={"Objects": [{"Key": h.path(h.own)}, {"Key": h.path()}]}
    ),
    "list": lambda h: h.s3.list_objects_v2(Bucket=h.bucket, Prefix=f"tenants/{h.victim}/"),
    "list of everything": lambda h: h.s3.list_objects_v2(Bucket=h.bucket),
    "list of all that begin alike": lambda h: h.s3.list_objects_v2(Bucket=h.bucket, Prefix=f"tenants/{h.own}"),
    "list the old way": lambda h: h.s3.list_objects(Bucket=h.bucket, Prefix=f"tenants/{h.own}/"),
    "list of versions": lambda h: h.s3.list_object_versions(Bucket=h.bucket, Prefix=f"tenants/{h.own}/"),
    "list of buckets": lambda h: h.s3.list_buckets(),
    "list by a paginator": lambda h: (
        h.s3.get_paginator("list_objects_v2").paginate(Bucket=h.bucket).build_full_result()
    ),
    "copy from another": lambda h: h.s3.copy_object(
        Bucket=h.bucket, Key=h.path(h.own), CopySource={"Bucket": h.bucket, "Key": h.path()}
    ),
    "copy from another by text": lambda h: h.s3.copy_object(
        Bucket=h.bucket, Key=h.path(h.own), CopySource=f"{h.bucket}/{h.path()}"
    ),
    "copy to another": lambda h: h.s3.copy_object(
        Bucket=h.bucket, Key=h.path(), CopySource={"Bucket": h.bucket, "Key": h.path(h.own)}
    ),
    "copy of parts from another": lambda h: h.s3.upload_part_copy(
        Bucket=h.bucket,
        Key=h.path(h.own),
        UploadId=h.upload_id,
        PartNumber=1,
        CopySource={"Bucket": h.bucket, "Key": h.path()},
    ),
    "upload in parts": lambda h: h.s3.create_multipart_upload(Bucket=h.bucket, Key=h.path()),
    "signed get": lambda h: h.s3.generate_presigned_url("get_object", Params={"Bucket": h.bucket, "Key": h.path()}),
    "signed put": lambda h: h.s3.generate_presigned_url("put_object", Params={"Bucket": h.bucket, "Key": h.path()}),
    "signed list": lambda h: h.s3.generate_presigned_url("list_objects_v2", Params={"Bucket": h.bucket}),
    "signed post": lambda h: h.s3.generate_presigned_post(h.bucket, h.path()),
    "signed post of one's own": lambda h: h.s3.generate_presigned_post(h.bucket, h.path(h.own) + "${filename}"),
    "access of an object": lambda h: h.s3.get_object_acl(Bucket=h.bucket, Key=h.path(h.own)),
    "policy of the bucket": lambda h: h.s3.get_bucket_location(Bucket=h.bucket),
}


async def seed(world: World) -> None:
    doors = stores(world.bare, world.violations)
    for tenant in (world.own, world.victim):
        await doors.db(tenant).put(job(tenant, JOB, text=f'"{tenant}"', owed=True))
        await doors.s3(tenant).put(f"tenants/{tenant}/secret", tenant.encode(), "text/plain")


@pytest.mark.parametrize("attacks", [ITEM_ATTACKS, OBJECT_ATTACKS], ids=["items", "objects"])
async def test_raw_calls_past_the_tenant_are_refused_before_they_leave(
    world: World, attacks: dict[str, Attack]
) -> None:
    for name, attack in attacks.items():
        await seed(world)
        world.violations.clear()
        with entered(TenantScope(world.own)), pytest.raises(TenantAccessViolation) as refused:
            await attack(hand(world, guarded=True))
        assert (refused.value.layer, refused.value.tenant_id) == ("client_guard", world.own), name
        assert world.violations == [refused.value], name


@pytest.mark.parametrize("attacks", [ITEM_ATTACKS, OBJECT_ATTACKS], ids=["items", "objects"])
async def test_each_attack_is_real_where_nothing_guards(world: World, attacks: dict[str, Attack]) -> None:
    for attack in attacks.values():
        await seed(world)
        await attack(hand(world, guarded=False))


@pytest.mark.parametrize("attacks", [ITEM_ATTACKS, OBJECT_ATTACKS], ids=["items", "objects"])
async def test_outside_any_scope_nothing_is_reached(world: World, attacks: dict[str, Attack]) -> None:
    for attack in attacks.values():
        with pytest.raises(TenantAccessViolation, match="acts in no scope"):
            await attack(hand(world, guarded=True))


# What is an attack from everywhere else is what these two verbs are for.
MEANT = {("binding", "get from a platform table"), ("owed_jobs", "query of the sweeper's index")}


@pytest.mark.parametrize("attacks", [ITEM_ATTACKS, OBJECT_ATTACKS], ids=["items", "objects"])
@pytest.mark.parametrize("verb", [*VERBS, "no such verb"])
async def test_no_platform_verb_reaches_a_tenants_data(world: World, attacks: dict[str, Attack], verb: str) -> None:
    for name, attack in attacks.items():
        if (verb, name) not in MEANT:
            with entered(PlatformScope(verb)), pytest.raises(TenantAccessViolation) as refused:
                await attack(hand(world, guarded=True))
            assert refused.value.tenant_id is None


class Liar(str):
    """A text that claims to equal any other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def startswith(self, *_: object) -> bool:
        return True


UNREADABLE: dict[str, Attack] = {
    "a key that lies": lambda h: h.db.get_item(
        TableName=h.jobs, Key={"pk": {"S": Liar(f"TENANT#{h.victim}")}, "sk": {"S": "x"}}
    ),
    "a table that lies": lambda h: h.db.get_item(TableName=Liar(h.prefix + "agents"), Key=h.key(h.own)),
    "a path that lies": lambda h: h.s3.get_object(Bucket=h.bucket, Key=Liar(h.path())),
    "a bucket that lies": lambda h: h.s3.get_object(Bucket=Liar("another-bucket"), Key=h.path(h.own)),
    "another bucket": lambda h: h.s3.get_object(Bucket="another-bucket", Key=h.path(h.own)),
    "a number as key": lambda h: h.db.get_item(TableName=h.jobs, Key={"pk": {"N": "1"}, "sk": {"S": "x"}}),
    "a key of two kinds": lambda h: h.db.get_item(
        TableName=h.jobs, Key={"pk": {"S": f"TENANT#{h.own}", "N": "1"}, "sk": {"S": "x"}}
    ),
    "a plain text as key": lambda h: h.db.get_item(TableName=h.jobs, Key={"pk": f"TENANT#{h.own}", "sk": "x"}),
    "half a key": lambda h: h.db.get_item(TableName=h.jobs, Key={"pk": {"S": f"TENANT#{h.own}"}}),
    "no key": lambda h: h.db.get_item(TableName=h.jobs),
    "no table": lambda h: h.db.get_item(Key=h.key(h.own)),
    "no item": lambda h: h.db.put_item(TableName=h.jobs),
    "an owner that is no text": lambda h: h.db.put_item(
        TableName=h.jobs, Item=h.item(h.own) | {"tenant_id": {"SS": [h.own]}}
    ),
    "no update": lambda h: h.db.update_item(TableName=h.jobs, Key=h.key(h.own)),
    "an update of nothing named": lambda h: h.db.update_item(
        TableName=h.jobs, Key=h.key(h.own), UpdateExpression="SET #a = :a", ExpressionAttributeNames={}
    ),
    "an update without names": lambda h: h.db.update_item(
        TableName=h.jobs, Key=h.key(h.own), UpdateExpression="SET #a = :a"
    ),
    "no key condition": lambda h: h.db.query(TableName=h.jobs),
    "a key condition on another attribute": lambda h: h.db.query(
        TableName=h.jobs,
        KeyConditionExpression="#pk = :pk",
        ExpressionAttributeNames={"#pk": "sk"},
        ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.own}"}},
    ),
    "an index that is not there": lambda h: h.db.query(
        TableName=h.jobs,
        IndexName="another",
        KeyConditionExpression="#pk = :pk",
        ExpressionAttributeNames=PK,
        ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.own}"}},
    ),
    "a query from another's key on": lambda h: h.db.query(
        TableName=h.jobs,
        KeyConditionExpression="#pk = :pk",
        ExpressionAttributeNames=PK,
        ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.own}"}},
        ExclusiveStartKey=h.key(),
    ),
    "a batch of something else": lambda h: h.db.batch_write_item(
        RequestItems={h.jobs: [{"UpdateRequest": {"Key": h.key(h.own)}}]}
    ),
    "a batch request of two": lambda h: h.db.batch_write_item(
        RequestItems={h.jobs: [{"PutRequest": {"Item": h.item(h.own)}, "DeleteRequest": {"Key": h.key()}}]}
    ),
    "a batch that is no list": lambda h: h.db.batch_write_item(RequestItems={h.jobs: {}}),
    "a leg of something else": lambda h: h.db.transact_write_items(
        TransactItems=[{"Get": {"TableName": h.jobs, "Key": h.key(h.own)}}]
    ),
    "a leg with a parameter of its own": lambda h: h.db.transact_write_items(
        TransactItems=[
            {
                "Delete": {
                    "TableName": h.jobs,
                    "Key": h.key(h.own),
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            }
        ]
    ),
    "a deletion of nothing": lambda h: h.s3.delete_objects(Bucket=h.bucket, Delete={}),
    "a deletion of texts": lambda h: h.s3.delete_objects(Bucket=h.bucket, Delete={"Objects": [h.path(h.own)]}),
    "a copy of nothing": lambda h: h.s3.copy_object(Bucket=h.bucket, Key=h.path(h.own)),
    "a copy from a bucket's root": lambda h: h.s3.copy_object(
        Bucket=h.bucket, Key=h.path(h.own), CopySource=f"/{h.bucket}/{h.path(h.own)}"
    ),
    "a copy from another bucket": lambda h: h.s3.copy_object(
        Bucket=h.bucket, Key=h.path(h.own), CopySource={"Bucket": "another-bucket", "Key": h.path(h.own)}
    ),
    "a copy from an access point": lambda h: h.s3.copy_object(
        Bucket=h.bucket,
        Key=h.path(h.own),
        CopySource=f"arn:aws:s3:eu-west-2:000000000000:accesspoint/x/object/{h.path(h.own)}",
    ),
    "a copy of another's version": lambda h: h.s3.copy_object(
        Bucket=h.bucket,
        Key=h.path(h.own),
        CopySource={"Bucket": h.bucket, "Key": h.path(), "VersionId": "null"},
    ),
    "a copy in code": lambda h: h.s3.copy_object(
        Bucket=h.bucket, Key=h.path(h.own), CopySource=f"{h.bucket}/tenants/{h.own}/%2E%2E/{h.victim}/secret"
    ),
}


async def test_what_the_guard_cannot_read_it_refuses(world: World) -> None:
    for name, call in UNREADABLE.items():
        with entered(TenantScope(world.own)), pytest.raises(TenantAccessViolation) as refused:
            await call(hand(world, guarded=True))
        assert refused.value.layer == "client_guard", name


async def test_a_key_or_text_from_the_tenant_stays_out_of_the_violation(world: World) -> None:
    with entered(TenantScope(world.own)), pytest.raises(TenantAccessViolation) as refused:
        await ITEM_ATTACKS["get"](hand(world, guarded=True))
    assert world.victim not in str(refused.value)
    assert refused.value.resource == world.bare.table_prefix + "jobs"
    assert refused.value.operation == "GetItem"


@pytest.mark.parametrize("event", ["", ".dynamodb", ".dynamodb.GetItem"])
async def test_a_handler_that_changes_the_call_is_caught_too(world: World, event: str) -> None:
    def swap(params: dict[str, Any], **_: object) -> None:
        params["Key"]["pk"] = {"S": f"TENANT#{world.victim}"}

    world.guarded.dynamodb.meta.events.register("before-parameter-build" + event, swap)
    h = hand(world, guarded=True)
    with entered(TenantScope(world.own)), pytest.raises(TenantAccessViolation):
        await h.db.get_item(TableName=h.jobs, Key=h.key(world.own))


async def test_a_tenants_own_raw_calls_go_through(world: World) -> None:
    h = hand(world, guarded=True)
    await seed(world)
    with entered(TenantScope(world.own)):
        assert (await h.db.get_item(TableName=h.jobs, Key=h.key(h.own)))["Item"]["tenant_id"] == {"S": h.own}
        await h.db.update_item(
            TableName=h.jobs,
            Key=h.key(h.own),
            UpdateExpression="SET #a = :a, #b = :b REMOVE #c ADD #d :d",
            ExpressionAttributeNames={"#a": "sweep_pk", "#b": "sweep_sk", "#c": "traceparent", "#d": "fence"},
            ExpressionAttributeValues={
                ":a": {"S": "SWEEP#7"},
                ":b": {"S": f"2026-01-01#{h.own}#{JOB}"},
                ":d": {"N": "1"},
            },
        )
        page = await h.db.query(
            TableName=h.jobs,
            KeyConditionExpression="#pk = :pk AND begins_with(#sk, :sk)",
            ExpressionAttributeNames={"#pk": "pk", "#sk": "sk"},
            ExpressionAttributeValues={":pk": {"S": f"TENANT#{h.own}"}, ":sk": {"S": "JOB#"}},
            ExclusiveStartKey=h.key(h.own) | {"sk": {"S": "JOB#"}},
        )
        assert page["Count"] == 1
        await h.db.batch_write_item(RequestItems={h.jobs: [{"DeleteRequest": {"Key": h.key(h.own)}}]})
        upload_id = (await h.s3.create_multipart_upload(Bucket=h.bucket, Key=h.path(h.own)))["UploadId"]
        await h.s3.upload_part_copy(
            Bucket=h.bucket,
            Key=h.path(h.own),
            UploadId=upload_id,
            PartNumber=1,
            CopySource=f"{h.bucket}/{h.path(h.own)}",
        )
        await h.s3.abort_multipart_upload(Bucket=h.bucket, Key=h.path(h.own), UploadId=upload_id)
        listed = await h.s3.list_objects_v2(Bucket=h.bucket, Prefix=f"tenants/{h.own}/sec")
        assert [entry["Key"] for entry in listed["Contents"]] == [h.path(h.own)]
        await h.s3.delete_objects(Bucket=h.bucket, Delete={"Objects": [{"Key": h.path(h.own)}]})
    assert world.violations == []


SIGNED: dict[str, Attack] = {
    # Whoever holds the URL chooses what is not signed: the body, or headers that make it a copy.
    "put": lambda h: h.s3.generate_presigned_url("put_object", Params={"Bucket": h.bucket, "Key": h.path(h.own)}),
    "delete": lambda h: h.s3.generate_presigned_url("delete_object", Params={"Bucket": h.bucket, "Key": h.path(h.own)}),
    # As another method it is the deletion of the bucket.
    "list": lambda h: h.s3.generate_presigned_url(
        "list_objects_v2", Params={"Bucket": h.bucket, "Prefix": f"tenants/{h.own}/"}, HttpMethod="DELETE"
    ),
    "get as put": lambda h: h.s3.generate_presigned_url(
        "get_object", Params={"Bucket": h.bucket, "Key": h.path(h.own)}, HttpMethod="PUT"
    ),
    "item": lambda h: h.db.generate_presigned_url("get_item", Params={"TableName": h.jobs, "Key": h.key(h.own)}),
}


@pytest.mark.parametrize("name", [*SIGNED])
async def test_a_url_is_signed_for_reading_an_object_and_nothing_else(world: World, name: str) -> None:
    with entered(TenantScope(world.own)), pytest.raises(TenantAccessViolation, match="signed") as refused:
        await SIGNED[name](hand(world, guarded=True))
    assert world.violations == [refused.value]
    await SIGNED[name](hand(world, guarded=False))


async def test_a_url_for_reading_ones_own_object_is_signed(world: World) -> None:
    h = hand(world, guarded=True)
    for method in (None, "GET"):
        with entered(TenantScope(world.own)):
            url = await h.s3.generate_presigned_url(
                "get_object", Params={"Bucket": h.bucket, "Key": h.path(h.own)}, HttpMethod=method
            )
        assert h.path(h.own) in url


async def test_an_unknown_service_is_not_guarded_by_halves(aws: Aws) -> None:
    async with aws.session.client("sts", endpoint_url=aws.endpoint_url) as sts:
        with pytest.raises(KeyError):
            client_guard.install(sts, table_prefix=aws.table_prefix, bucket=aws.bucket, on_violation=Violations())
