"""What a creating request was answered, kept for a day under its caller's Idempotency-Key.

A key is its tenant's own and holds for one operation. Its record is either part of the transaction that created
something, or begins as `running` under a lease, which whoever works for it renews, and is then given its answer or
removed. So of any number of requests with one key one works, and a key whose worker died is free within LEASE_S.
"""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import orjson
import structlog
from boto3.dynamodb.conditions import Attr, ConditionBase

from tenancy import tables
from tenancy.clock import Clock
from tenancy.data_models import IdempotencyRecord
from tenancy.errors import ConditionFailedError, StoreUnavailableError
from tenancy.ids import TenantId
from tenancy.steps import NEW, PutStep
from tenancy.store import TenantStores

# Whose keys operators' are: reserved, so no tenant's.
PLATFORM: Final = TenantId("platform")
KEPT: Final = timedelta(hours=24)
LEASE_S: Final = 30
# Two renewals may fail before the lease is lost.
RENEW_S: Final = 10.0
# A DynamoDB item may hold 400 KB.
INLINE_LIMIT_BYTES: Final = 300 * 1024

_log = structlog.get_logger("tenancy.idempotency")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its key, what the key holds for, and the hash of all that has to be the same again."""

    tenant_id: TenantId
    operation: str
    key: str
    request_sha256: str


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer; `body` is None where it was too large to be kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


class Idempotency:
    """Keeps the answers of any tenant, each through that tenant's own door."""

    def __init__(self, stores: TenantStores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    async def find(self, asked: Asked) -> IdempotencyRecord | None:
        """Return what the key stands for now: None where it is free."""
        key = IdempotencyRecord.key_of(asked.tenant_id, f"{asked.operation}#{asked.key}")
        record = await self._stores.db(asked.tenant_id).get(IdempotencyRecord, key, consistent=True)
        now = self._clock.now()
        if record is None or record.ttl < now.timestamp():
            return None
        run_out = record.lease_until_at is not None and record.lease_until_at < now
        return None if run_out and record.status == "running" else record

    async def claim(self, asked: Asked) -> IdempotencyRecord | None:
        """Hold the key if it is free: return its record, `running`; None where it is not free."""
        claimed = self._record(asked, "running").model_copy(
            update={"holder": secrets.token_hex(16), "lease_until_at": self._until()}
        )
        try:
            await self._stores.db(asked.tenant_id).put(claimed, condition=self._free())
        except ConditionFailedError:
            return None
        return claimed

    async def renew(self, held: IdempotencyRecord) -> None:
        """Go on holding the key; raises ConditionFailedError where somebody else holds it."""
        await self._stores.db(held.tenant_id).update(
            IdempotencyRecord, held.key(), {"lease_until_at": _text(self._until())}, condition=_holds(held)
        )

    async def settle(self, held: IdempotencyRecord, answer: Answered) -> None:
        """Give a key that is held its answer; one that somebody else holds by now stays theirs."""
        answered = await self._with_answer(held.model_copy(update={"status": "answered"}), answer)
        with suppress(ConditionFailedError):
            await self._stores.db(held.tenant_id).put(answered, condition=_holds(held))

    async def free(self, held: IdempotencyRecord) -> None:
        """Give a key back as if it had never been used."""
        with suppress(ConditionFailedError):
            await self._stores.db(held.tenant_id).delete(IdempotencyRecord, held.key(), condition=_holds(held))

    def beside(self, asked: Asked, answer: Answered) -> PutStep:
        """Return the step that keeps a small answer in the transaction whose answer it is; it fails unless free."""
        return PutStep(_inline(self._record(asked, "answered"), answer), self._free())

    async def answer(self, record: IdempotencyRecord) -> Answered:
        """Return the answer of a record that has one; raises StoreUnavailableError."""
        headers: dict[str, str] = orjson.loads(record.answer_headers_json or "{}")
        body = None if record.answer_text is None else record.answer_text.encode()
        if record.answer_s3_key is not None:
            body = await self._stores.s3(record.tenant_id).get(record.answer_s3_key)
        return Answered(record.answer_status or 0, headers, body)

    async def _with_answer(self, record: IdempotencyRecord, answer: Answered) -> IdempotencyRecord:
        if answer.body is None or _fits(answer.body):
            return _inline(record, answer)
        key = f"{tables.tenant_prefix(record.tenant_id)}idempotency/{record.holder}"
        try:
            await self._stores.s3(record.tenant_id).put(key, answer.body, "application/octet-stream")
        except StoreUnavailableError:
            _log.warning("answer not kept", tenant=record.tenant_id, operation=record.operation)
            return _inline(record, Answered(answer.status, answer.headers, None))
        told = _inline(record, Answered(answer.status, answer.headers, None))
        return told.model_copy(update={"answer_s3_key": key})

    def _record(self, asked: Asked, status: Literal["running", "answered"]) -> IdempotencyRecord:
        now = self._clock.now()
        return IdempotencyRecord(
            tenant_id=asked.tenant_id,
            operation=asked.operation,
            idempotency_key=asked.key,
            request_sha256=asked.request_sha256,
            status=status,
            created_at=now,
            ttl=int((now + KEPT).timestamp()),
        )

    def _until(self) -> datetime:
        return self._clock.now().replace(microsecond=0) + timedelta(seconds=LEASE_S)

    def _free(self) -> ConditionBase:
        now = self._clock.now()
        # DynamoDB removes what is over within days, not at once.
        over = Attr(tables.TTL_ATTRIBUTE).lt(int(now.timestamp()))
        run_out = Attr("status").eq("running") & Attr("lease_until_at").lt(_text(now))
        return NEW | over | run_out


def _holds(held: IdempotencyRecord) -> ConditionBase:
    return Attr("holder").eq(held.holder) & Attr("status").eq("running")


def _text(moment: datetime) -> str:
    # Whole seconds, as the models write them: of one width, so that the store's comparison of text is one of time.
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _fits(body: bytes) -> bool:
    if len(body) > INLINE_LIMIT_BYTES:
        return False
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _inline(record: IdempotencyRecord, answer: Answered) -> IdempotencyRecord:
    return record.model_copy(
        update={
            "lease_until_at": None,
            "answer_status": answer.status,
            "answer_headers_json": orjson.dumps(dict(answer.headers)).decode(),
            "answer_text": None if answer.body is None else answer.body.decode(),
        }
    )
