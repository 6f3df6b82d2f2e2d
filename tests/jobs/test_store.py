"""Jobs in the real store."""

import asyncio

import pytest
from boto3.dynamodb.conditions import Attr

from jobs import records
from jobs.errors import LeaseLostError
from jobs.store import INLINE_LIMIT_BYTES
from tenancy.data_models import Progress, Status
from tests.jobs.conftest import Floor
from tests.jobs.parts import make_job

pytestmark = pytest.mark.stack


def body_of(size: int) -> bytes:
    return b'{"prompt":"' + b"x" * (size - 13) + b'"}'


async def test_an_input_of_32768_bytes_stays_in_the_record(floor: Floor) -> None:
    body = body_of(32_768)
    assert len(body) == INLINE_LIMIT_BYTES
    job = await floor.job(await floor.submit(body))
    assert (job.input_json, job.input_s3_key) == (body.decode(), None)
    assert await floor.store.input(job) == body


async def test_an_input_of_32769_bytes_goes_to_the_tenants_prefix(floor: Floor) -> None:
    body = body_of(32_769)
    job = await floor.job(await floor.submit(body))
    assert (job.input_json, job.input_s3_key) == (None, f"tenants/{floor.tenant_id}/jobs/{job.job_id}/input.json")
    assert await floor.store.input(job) == body


@pytest.mark.parametrize("body", [b'{"b": 1,  "a":1.0}', '{"é":"\\u00e9"}'.encode(), b"1e400"])
async def test_payloads_are_kept_byte_for_byte(floor: Floor, body: bytes) -> None:
    job = await floor.submit(body)
    done = await floor.store.save(job, await floor.store.with_result(job, body))
    stored = await floor.job(done)
    assert (await floor.store.input(stored), await floor.store.result(stored)) == (body, body)


async def test_a_large_result_goes_to_the_tenants_prefix(floor: Floor) -> None:
    job, result = await floor.submit(), body_of(INLINE_LIMIT_BYTES + 1)
    await floor.store.save(job, await floor.store.with_result(job, result))
    stored = await floor.job(job)
    assert (stored.result_json, stored.result_s3_key) == (
        None,
        f"tenants/{floor.tenant_id}/jobs/{job.job_id}/result-{job.fence}.json",
    )
    assert await floor.store.result(stored) == result


async def test_a_job_without_a_result_has_none(floor: Floor) -> None:
    assert await floor.store.result(await floor.submit()) is None


async def test_an_unknown_job_is_none(floor: Floor) -> None:
    assert await floor.store.get(floor.tenant_id, make_job().job_id) is None


async def test_a_save_writes_what_changed_and_nothing_else(floor: Floor) -> None:
    job = await floor.submit()
    running = await floor.store.save(job, records.started(job, floor.clock.now()))
    # Another writer's attribute, which this one has not read, survives.
    key = job.key()
    await floor.stores.db(floor.tenant_id).update(type(job), key, {"metadata_json": '"kept"'})
    await floor.store.save(running, records.progressed(running, Progress(percent=5), floor.clock.now()))
    stored = await floor.job(job)
    assert (stored.metadata_json, stored.progress, stored.status) == ('"kept"', Progress(percent=5), Status.RUNNING)


async def test_a_save_under_an_old_fence_is_refused(floor: Floor) -> None:
    job = await floor.submit()
    claimed = await floor.store.claim(job.tenant_id, job.job_id, lease={"lease_owner": "w"}, when=Attr("fence").eq(0))
    assert claimed.fence == 1
    with pytest.raises(LeaseLostError):
        await floor.store.save(job, records.started(job, floor.clock.now()))
    assert (await floor.job(job)).status is Status.QUEUED


async def test_of_two_ends_written_at_once_one_stands(floor: Floor) -> None:
    job = records.started(queued := await floor.submit(), floor.clock.now())
    job = await floor.store.save(queued, job)
    ends = [records.ended(job, status, floor.clock.now()) for status in (Status.FAILED, Status.CANCELLED)] * 5
    written = await asyncio.gather(*(floor.store.save(job, end) for end in ends), return_exceptions=True)
    assert sum(isinstance(answer, LeaseLostError) for answer in written) == 9


async def test_a_list_is_newest_first_and_pages(floor: Floor) -> None:
    jobs = sorted([(await floor.submit()).job_id for _ in range(5)], reverse=True)
    first = await floor.store.list(floor.tenant_id, limit=3, after=None, status=None)
    rest = await floor.store.list(floor.tenant_id, limit=3, after=first.after, status=None)
    assert [job.job_id for job in (*first.items, *rest.items)] == jobs
    assert (len(first.items), rest.after) == (3, None)


async def test_a_list_by_status_finds_each_once_over_pages(floor: Floor) -> None:
    running = set()
    for number in range(6):
        job = await floor.submit()
        if number % 2:
            await floor.store.save(job, records.started(job, floor.clock.now()))
            running.add(job.job_id)
    found: list[str] = []
    pages, after = 0, None
    while pages == 0 or after is not None:
        page = await floor.store.list(floor.tenant_id, limit=1, after=after, status=Status.RUNNING)
        found += [job.job_id for job in page.items]
        pages, after = pages + 1, page.after
    assert (len(found), set(found)) == (3, running)
    assert pages <= 4
