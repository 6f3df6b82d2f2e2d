"""The audit trail: what was attempted against a tenant, stored under that tenant, off the path of the request.

`record` and `on_violation` never wait and never fail: events queue up to a bound and are stored by a background
writer that `start` begins and `aclose` ends after storing what is left. An event that finds the queue full, or that
the store refuses for good, is counted as dropped; its log line stands in any case.
"""

import asyncio
from collections import defaultdict
from typing import Final

import structlog
from botocore.exceptions import ClientError
from prometheus_client import CollectorRegistry, Counter

from tenancy.clock import Clock
from tenancy.data_models import AuditEvent
from tenancy.errors import LockgateError, StoreUnavailableError, TenantAccessViolation
from tenancy.ids import TenantId, new_audit_id
from tenancy.store import BATCH_LIMIT, TenantStores

_log = structlog.get_logger(__name__)

_TRIES: Final = 5
_FIRST_PAUSE_S: Final = 0.5


class AuditTrail:
    """Counts, logs and stores audit events."""

    def __init__(self, *, clock: Clock, metrics: CollectorRegistry, queue_limit: int = 1_000) -> None:
        self._clock = clock
        self._queue: asyncio.Queue[AuditEvent | None] = asyncio.Queue()
        self._queue_limit = queue_limit
        self._writer: asyncio.Task[None] | None = None
        self._violations = Counter(
            "lockgate_tenant_access_violations_total",
            "Attempts to reach data outside the acting tenant, by the layer that refused",
            ["layer", "operation"],
            registry=metrics,
        )
        self._dropped = Counter(
            "lockgate_audit_events_dropped_total", "Audit events logged but not stored", registry=metrics
        )

    def start(self, stores: TenantStores) -> None:
        """Begin storing events through the tenants' doors; `aclose` ends it."""
        self._writer = asyncio.create_task(self._write(stores), name="audit-writer")

    async def aclose(self) -> None:
        """Store what is queued, then end the writer."""
        if self._writer is not None:
            self._queue.put_nowait(None)
            await self._writer

    def on_violation(self, violation: TenantAccessViolation) -> None:
        """Count, log and record an attempt that a door or the guard refused."""
        self._violations.labels(violation.layer, violation.operation).inc()
        _log.error(
            "tenant access violation",
            tenant=violation.tenant_id,
            layer=violation.layer,
            operation=violation.operation,
            resource=violation.resource,
            reason=violation.reason,
        )
        if violation.tenant_id is not None:
            now = self._clock.now()
            self._enqueue(
                AuditEvent(
                    tenant_id=TenantId(violation.tenant_id),
                    audit_id=new_audit_id(now),
                    actor=f"lockgate.{violation.layer}",
                    operation=violation.operation,
                    outcome="refused",
                    reason=violation.reason,
                    target=violation.resource,
                    at=now,
                )
            )

    def record(self, event: AuditEvent) -> None:
        """Log and queue an event."""
        log_event(event)
        self._enqueue(event)

    def _enqueue(self, event: AuditEvent) -> None:
        if self._queue.qsize() < self._queue_limit:
            self._queue.put_nowait(event)
        else:
            self._dropped.inc()

    async def _write(self, stores: TenantStores) -> None:
        last = False
        while not last:
            queued = [await self._queue.get()]
            while not self._queue.empty():
                queued.append(self._queue.get_nowait())
            last = None in queued
            lanes: defaultdict[TenantId, list[AuditEvent]] = defaultdict(list)
            for event in queued:
                if event is not None:
                    lanes[event.tenant_id].append(event)
            for tenant_id, events in lanes.items():
                for start in range(0, len(events), BATCH_LIMIT):
                    await self._store(stores, tenant_id, events[start : start + BATCH_LIMIT])

    async def _store(self, stores: TenantStores, tenant_id: TenantId, events: list[AuditEvent]) -> None:
        pause_s = _FIRST_PAUSE_S
        for _ in range(_TRIES):
            try:
                await stores.db(tenant_id).put_batch(events)
            except StoreUnavailableError:
                await self._clock.sleep(pause_s)
                pause_s *= 2
            except (LockgateError, ClientError) as error:
                # Nothing a later try could change; the trail must go on.
                _log.error("audit events refused", tenant=tenant_id, error=type(error).__name__)
                break
            else:
                return
        self._dropped.inc(len(events))


def log_event(event: AuditEvent) -> None:
    """Write an event's line."""
    _log.info(
        "audit",
        tenant=event.tenant_id,
        audit_id=event.audit_id,
        actor=event.actor,
        operation=event.operation,
        outcome=event.outcome,
        reason=event.reason,
        request_id=event.request_id,
    )
