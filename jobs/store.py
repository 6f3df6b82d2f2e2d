"""Jobs in DynamoDB, their large inputs and results in the tenant's own S3 prefix.

A write after the first goes through only under the fence it was claimed with and from the status it was read in,
so that of two workers one at most is heard. Payloads are kept as the JSON they came as, byte for byte.
"""

from collections.abc import Mapping
from typing import Final

from boto3.dynamodb.conditions import Attr, ConditionBase
from pydantic import JsonValue

from jobs.errors import LeaseLostError
from tenancy import tables
from tenancy.data_models import JobRecord, Status
from tenancy.errors import ConditionFailedError
from tenancy.ids import JobId, TenantId
from tenancy.steps import Page
from tenancy.store import TenantStores

# A DynamoDB item may hold 400 KB; up to here a payload costs no second store.
INLINE_LIMIT_BYTES: Final = 32 * 1024
_JSON: Final = "application/json"
# A filtered list reads at most this many items before it hands back a cursor.
_SCAN_PAGES: Final = 10
_SCAN_PAGE: Final = 100


class JobStore:
    """Loads and writes the jobs of any tenant, each through that tenant's own door."""

    def __init__(self, stores: TenantStores) -> None:
        self._stores = stores

    async def create(self, job: JobRecord, body: bytes) -> JobRecord:
        """Store a new job with its input's JSON; once this returns, the job is durable."""
        if len(body) <= INLINE_LIMIT_BYTES:
            job = job.model_copy(update={"input_json": body.decode()})
        else:
            key = _payload_key(job, "input.json")
            await self._stores.s3(job.tenant_id).put(key, body, _JSON)
            job = job.model_copy(update={"input_s3_key": key})
        await self._stores.db(job.tenant_id).put(job, condition=Attr(tables.PARTITION_KEY).not_exists())
        return job

    async def get(self, tenant_id: TenantId, job_id: JobId, *, consistent: bool = False) -> JobRecord | None:
        """Return a job of this tenant, or None."""
        key = JobRecord.key_of(tenant_id, job_id)
        return await self._stores.db(tenant_id).get(JobRecord, key, consistent=consistent)

    async def list(
        self, tenant_id: TenantId, *, limit: int, after: str | None, status: Status | None
    ) -> Page[JobRecord]:
        """Return up to `limit` jobs, the newest first; a page filtered by status may hold fewer though more follow."""
        if status is None:
            return await self._page(tenant_id, limit, after)
        found: list[JobRecord] = []
        for _ in range(_SCAN_PAGES):
            page = await self._page(tenant_id, _SCAN_PAGE, after)
            for job in page.items:
                after = job.sort_key()
                if job.status is status:
                    found.append(job)
                if len(found) == limit:
                    more = page.after is not None or job is not page.items[-1]
                    return Page(tuple(found), after if more else None)
            after = page.after
            if after is None:
                break
        return Page(tuple(found), after)

    async def input(self, job: JobRecord) -> bytes | None:
        """Return the input's JSON as it was submitted; None where its object is gone."""
        return await self._payload(job, job.input_json, job.input_s3_key)

    async def result(self, job: JobRecord) -> bytes | None:
        """Return the result's JSON as the agent gave it; None where there is none."""
        return await self._payload(job, job.result_json, job.result_s3_key)

    async def with_result(self, job: JobRecord, result: bytes) -> JobRecord:
        """Return the job carrying this result; a large one is put in S3 now, before the record names it."""
        if len(result) <= INLINE_LIMIT_BYTES:
            return job.model_copy(update={"result_json": result.decode()})
        key = _payload_key(job, "result.json")
        await self._stores.s3(job.tenant_id).put(key, result, _JSON)
        return job.model_copy(update={"result_s3_key": key})

    async def claim(
        self, tenant_id: TenantId, job_id: JobId, *, lease: Mapping[str, str], when: ConditionBase
    ) -> JobRecord:
        """Write a lease and raise the fence in one step; raises ConditionFailedError unless `when` holds."""
        key = JobRecord.key_of(tenant_id, job_id)
        return await self._stores.db(tenant_id).update(JobRecord, key, lease, add={"fence": 1}, condition=when)

    async def save(self, held: JobRecord, changed: JobRecord) -> JobRecord:
        """Write what `changed` differs in from `held`; raises LeaseLostError unless `held` is still how it stands."""
        under = Attr("fence").eq(held.fence) & Attr("status").eq(held.status.value)
        try:
            return await self._stores.db(held.tenant_id).update(
                JobRecord, held.key(), _difference(held, changed), condition=under
            )
        except ConditionFailedError as lost:
            raise LeaseLostError from lost

    async def _page(self, tenant_id: TenantId, limit: int, after: str | None) -> Page[JobRecord]:
        return await self._stores.db(tenant_id).query(
            JobRecord,
            tables.tenant_partition(tenant_id),
            sort_prefix=JobRecord.SORT_PREFIX,
            limit=limit,
            after=after,
            newest_first=True,
        )

    async def _payload(self, job: JobRecord, text: str | None, key: str | None) -> bytes | None:
        if text is not None:
            return text.encode()
        return None if key is None else await self._stores.s3(job.tenant_id).get(key)


def _payload_key(job: JobRecord, name: str) -> str:
    return f"{tables.tenant_prefix(job.tenant_id)}jobs/{job.job_id}/{name}"


def _difference(held: JobRecord, changed: JobRecord) -> dict[str, JsonValue]:
    old, new = _attributes(held), _attributes(changed)
    return {name: new.get(name) for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _attributes(job: JobRecord) -> dict[str, JsonValue]:
    return job.model_dump(mode="json", exclude_none=True) | job.index_keys()
