"""What webhooks owe a suspended tenant is kept, and goes on once it is served again."""

import asyncio

import pytest

from ops.devstack.aws import store_clients
from ops.devstack.environment import BUCKET, TABLE_PREFIX
from ops.devstack.stack import Stack
from tenancy import tables
from tenancy.data_models import Delivery
from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId, parse_webhook_id
from tenancy.store import TenantStores
from tests.flows.conftest import ECHO, Caller
from tests.flows.test_webhooks import ASYNC, Hook, registered

pytestmark = pytest.mark.stack

GLOBEX = TenantId("globex")
PATH = f"/v1/admin/tenants/{GLOBEX}"


async def looked_at(stack: Stack, hook: Hook) -> Delivery:
    """Return the webhook's one delivery once a worker has looked at it and let go of it."""

    def unexpected(violation: TenantAccessViolation) -> None:
        raise violation

    prefix = Delivery.prefix_of(parse_webhook_id(hook.path.rpartition("/")[2]))
    async with store_clients(stack.ports, stack.layout.keys()) as aws, asyncio.timeout(30):
        stores = TenantStores(aws.dynamodb, aws.s3, table_prefix=TABLE_PREFIX, bucket=BUCKET, on_violation=unexpected)
        while True:
            page = await stores.db(GLOBEX).query(
                Delivery, tables.tenant_partition(GLOBEX), sort_prefix=prefix, limit=10
            )
            if page.items and page.items[0].fence and page.items[0].lease_until_at is None:
                [delivery] = page.items
                return delivery
            await asyncio.sleep(0.05)


async def test_a_job_that_ends_while_its_tenant_is_suspended_is_told_of_once_it_is_served_again(
    stack: Stack, globex: Caller, operator: Caller
) -> None:
    async with registered(stack, globex) as hook:
        answer, accepted = await globex.post(ECHO, globex.echo(durationS=1.5), ASYNC)
        assert answer.status == 202
        while (await globex.get(f"/v1/jobs/{accepted['jobId']}"))[1]["status"] != "running":
            await asyncio.sleep(0.02)
        await operator.post(f"{PATH}/suspend", {"reason": "invoice overdue"})
        try:
            held = await looked_at(stack, hook)
        finally:
            await operator.post(f"{PATH}/reinstate", {"reason": "paid"})
        assert (held.event_type, held.status, held.attempts) == ("job.succeeded", "pending", ())
        assert held.next_attempt_at is not None
        async with asyncio.timeout(20):
            while (await globex.get("/v1/me"))[0] != 200:
                pass
        again, _ = await globex.post(f"{hook.path}/deliveries/{held.delivery_id}/redeliver")
        assert again.status == 202
        [item] = await hook.came()
        assert (item["verified"], item["payload"]["data"]["jobId"]) == (True, accepted["jobId"])
