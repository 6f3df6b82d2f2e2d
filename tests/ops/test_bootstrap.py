import asyncio

import pytest

from ops.bootstrap import ensure_bucket, ensure_tables
from tenancy.ids import TenantId
from tenancy.platform_store import PlatformStore
from tenancy.tables import DIRECTORY_INDEX, TABLES, TENANTS
from tests.conftest import Aws
from tests.tenancy.samples import Violations, tenant

pytestmark = pytest.mark.stack


async def test_every_table_is_made_as_the_tables_say(aws: Aws) -> None:
    for table in TABLES:
        found = (await aws.dynamodb.describe_table(TableName=aws.table_prefix + table.name))["Table"]
        assert [key["AttributeName"] for key in found["KeySchema"]] == ["pk", "sk"]
        assert found["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        indexes = found.get("GlobalSecondaryIndexes", [])
        assert {index["IndexName"] for index in indexes} == {index.name for index in table.indexes}
        assert all(index["Projection"]["ProjectionType"] == "ALL" for index in indexes)


async def test_only_tables_that_expire_have_a_time_to_live(fresh_aws: Aws) -> None:
    # Tables of tests have it turned off.
    await ensure_tables(fresh_aws.dynamodb, fresh_aws.table_prefix)
    for table in TABLES:
        found = await fresh_aws.dynamodb.describe_time_to_live(TableName=fresh_aws.table_prefix + table.name)
        told = found["TimeToLiveDescription"]
        assert (told["TimeToLiveStatus"] == "ENABLED", told.get("AttributeName") == "ttl") == (table.expires,) * 2


async def test_making_the_tables_again_and_at_once_changes_nothing(fresh_aws: Aws) -> None:
    # Never the shared ones: from then on the store would take away what other tests keep.
    aws = fresh_aws
    await aws.dynamodb.put_item(
        TableName=aws.table_prefix + "tools", Item={"pk": {"S": "TOOL#kept"}, "sk": {"S": "METADATA"}}
    )
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(ensure_tables(aws.dynamodb, aws.table_prefix))
            group.create_task(ensure_bucket(aws.s3, aws.bucket, "eu-west-2"))
    kept = await aws.dynamodb.get_item(
        TableName=aws.table_prefix + "tools", Key={"pk": {"S": "TOOL#kept"}, "sk": {"S": "METADATA"}}
    )
    assert kept["Item"]["pk"] == {"S": "TOOL#kept"}


async def test_an_index_that_an_older_table_lacks_is_added_and_filled(fresh_aws: Aws) -> None:
    name = fresh_aws.table_prefix + TENANTS.name
    await fresh_aws.dynamodb.put_item(TableName=name, Item=tenant(TenantId("acme")).to_item())
    await fresh_aws.dynamodb.update_table(
        TableName=name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": DIRECTORY_INDEX.name}}]
    )
    found = await fresh_aws.dynamodb.describe_table(TableName=name)
    assert not found["Table"].get("GlobalSecondaryIndexes")
    await ensure_tables(fresh_aws.dynamodb, fresh_aws.table_prefix)
    store = PlatformStore(fresh_aws.dynamodb, table_prefix=fresh_aws.table_prefix, on_violation=Violations())
    assert [one.tenant_id for one in (await store.tenants(limit=5)).items] == ["acme"]


async def test_a_bucket_in_the_default_region_needs_no_constraint(aws: Aws) -> None:
    async with aws.session.client("s3", endpoint_url=aws.endpoint_url, region_name="us-east-1") as s3:
        await ensure_bucket(s3, "lockgate-default-region", "us-east-1")
        await s3.head_bucket(Bucket="lockgate-default-region")


async def test_a_failed_creation_is_not_hidden(aws: Aws) -> None:
    with pytest.raises(aws.s3.exceptions.ClientError, match="InvalidBucketName"):
        await ensure_bucket(aws.s3, "Not_A_Bucket", "eu-west-2")
