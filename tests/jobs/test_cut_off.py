"""A worker is cut off before each of its writes in turn: whatever it had written by then hangs together."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobs.execute import TickOutcome
from jobs.lease import LEASE_S, Tick
from tenancy.data_models import JobRecord, OutboxEvent, Status
from tenancy.ids import event_id_of
from tests.clock import FakeClock
from tests.conftest import Aws
from tests.jobs.conftest import Floor

pytestmark = pytest.mark.stack

WRITES = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")
# More than the one tick of a short job ever makes.
MOST_WRITES = 20


class CutOffError(Exception):
    """The worker is no more."""


@contextmanager
def cut_off(aws: Aws, after: int) -> Iterator[None]:
    """Let this many writes through, and none after them."""
    left = after

    def count(**_: object) -> None:
        nonlocal left
        if left == 0:
            raise CutOffError
        left -= 1

    names = [f"before-call.dynamodb.{operation}" for operation in WRITES]
    for name in names:
        aws.dynamodb.meta.events.register(name, count)
    try:
        yield
    finally:
        for name in names:
            aws.dynamodb.meta.events.unregister(name, count)


async def told(floor: Floor, job: JobRecord) -> bool:
    key = OutboxEvent.key_of(job.tenant_id, event_id_of(job.job_id))
    return await floor.stores.db(job.tenant_id).get(OutboxEvent, key, consistent=True) is not None


async def test_a_worker_cut_off_before_any_of_its_writes_leaves_no_end_untold(
    floor: Floor, clock: FakeClock, aws: Aws
) -> None:
    for after in range(MOST_WRITES):
        job = await floor.submit()
        try:
            with cut_off(aws, after):
                await floor.worker("cut off")(Tick(job.tenant_id, job.job_id, 0))
        except CutOffError:
            found = await floor.job(job)
            assert await told(floor, job) == found.status.terminal
            await clock.advance(LEASE_S + 1)
            outcome = await floor.worker("heir")(Tick(job.tenant_id, job.job_id, found.fence))
            assert outcome is (TickOutcome.PASSED_ON if found.status.terminal else TickOutcome.ENDED)
            assert (await floor.job(job)).status is Status.SUCCEEDED
            assert await told(floor, job)
            assert floor.runtime.effects[job.job_id] == 1
        else:
            assert after > 2
            return
    raise AssertionError("a short job took more writes than any tick does")
