"""What was written, write by write, and what may never have been."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from jobs.records import LEGAL
from tenancy import tables
from tenancy.data_models import JobEvent, JobRecord, OutboxEvent, Status, UsageRecord
from tenancy.ids import JobId, TenantId, event_id_of
from tests.jobs.memory.expressions import Item
from tests.jobs.memory.items import Items

WRITER: Final[ContextVar[object | None]] = ContextVar("writer", default=None)
"""The worker process that a write is made by; None is the gateway."""


class History:
    """Watches what is stored; `broken` names every rule that a write broke, in words."""

    def __init__(self, items: Items, caps: Mapping[TenantId, int]) -> None:
        self._items = items
        self._caps = caps
        self._fences: dict[object, int] = {}
        self._statuses: dict[JobId, Status] = {}
        self._tenants: dict[JobId, TenantId] = {}
        self._acknowledged: dict[JobId, bool] = {}
        self._events: defaultdict[JobId, list[str]] = defaultdict(list)
        self._paid_for: dict[JobId, Status] = {}
        self._keys: dict[tuple[TenantId, str], JobId] = {}
        self.broken: list[str] = []
        self.cancelled: set[JobId] = set()
        # Runs that went with their microVM before any process was known to have them (adr/010).
        self.excused: Counter[JobId] = Counter()
        items.watchers.append(self._told)

    @property
    def over(self) -> bool:
        return all(status.terminal for status in self._statuses.values())

    @property
    def statuses(self) -> Mapping[JobId, Status]:
        return self._statuses

    def unacknowledged(self, job_id: JobId) -> bool:
        return not self._statuses[job_id].terminal and not self._acknowledged[job_id]

    def accept(self, tenant_id: TenantId, key: str, job_id: JobId) -> None:
        """Note which job a caller was told of."""
        self._demand(self._keys.get((tenant_id, key)) == job_id, f"{job_id} is not the job of its key")

    def check(self) -> None:
        """Demand what holds at any time between two steps."""
        assert self.broken == [], self.broken
        for tenant in self._caps:
            assert self._gate(tenant, "running") == self._running(tenant), "the gate counts what runs"

    def check_rest(self, effects: Mapping[str, int], most_effects: int) -> None:
        """Demand what holds once everything has come to rest."""
        self.check()
        for job_id, status in self._statuses.items():
            assert status.terminal, f"{job_id} never ended"
            assert effects.get(job_id, 0) <= most_effects + self.excused[job_id], f"{job_id} ran too often"
            assert self._events[job_id][0] == "job.queued"
            ends = [kind for kind in self._events[job_id] if kind not in _COURSE]
            assert ends == [f"job.{status}"], f"{job_id} ended {status} and told of {ends}"
            assert self._events[job_id][-1] == ends[0]
            told = self._item(tables.OUTBOX, self._tenants[job_id], OutboxEvent.SORT_PREFIX + event_id_of(job_id))
            assert told is not None, f"nothing was told of {job_id}"
            assert told["event_type"]["S"] == f"job.{status}"
        assert self._paid_for == self._statuses, "the ledger has a line for each job, as it ended"
        for job_id in self.cancelled:
            assert self._statuses[job_id] is Status.CANCELLED, f"{job_id} was cancelled"
        assert [place for place in self._items.held if place[2].startswith("WAITING#")] == []
        told_of = sum(place[0].endswith(tables.OUTBOX.name) for place in self._items.held)
        assert told_of == len(self._statuses), "an event tells of what never happened"

    def _told(self, table: str, before: Item | None, after: Item | None) -> None:
        image = after or before or {}
        sort = image[tables.SORT_KEY]["S"]
        if sort.startswith(JobRecord.SORT_PREFIX):
            self._job(before, after)
        elif sort.startswith(JobEvent.SORT_PREFIX):
            self._event(before, after)
        elif sort == "GATE" and after is not None:
            running, cap = int(after["running"]["N"]), self._caps[TenantId(after["tenant_id"]["S"])]
            self._demand(0 <= running <= cap, f"{running} of {cap} run")
        elif table.endswith(tables.OUTBOX.name):
            # Fanning it out settles it.
            self._demand(before is None or "next_tick_at" not in image, "an end was told of twice")
        elif sort.startswith(UsageRecord.SORT_PREFIX):
            self._demand(before is None, "a job was paid for twice")
            self._paid_for[JobId(image["record_id"]["S"])] = Status(image["outcome"]["S"])

    def _job(self, before: Item | None, after: Item | None) -> None:
        if after is None:
            self.broken.append("a job was removed")
            return
        job_id, status, fence = JobId(after["job_id"]["S"]), Status(after["status"]["S"]), int(after["fence"]["N"])
        if before is None:
            self._demand((status, fence) == (Status.QUEUED, 0), f"{job_id} did not begin as queued")
            key = TenantId(after["tenant_id"]["S"]), after["metadata_json"]["S"]
            self._demand(self._keys.setdefault(key, job_id) == job_id, f"the key of {job_id} had made another job")
        else:
            self._change(job_id, before, after)
        self._statuses[job_id] = status
        self._tenants[job_id] = TenantId(after["tenant_id"]["S"])
        self._acknowledged[job_id] = "boot_id" in after

    def _change(self, job_id: JobId, before: Item, after: Item) -> None:
        was, now = Status(before["status"]["S"]), Status(after["status"]["S"])
        self._demand(not was.terminal, f"{job_id} was written after its end, by which it was {was}")
        self._demand(now is was or now in LEGAL[was], f"{job_id} went from {was} to {now}")
        if "cancel_requested_at" in before:
            self._demand(now in (was, Status.CANCELLED), f"{job_id}, to be cancelled, went from {was} to {now}")
        old, new, writer = int(before["fence"]["N"]), int(after["fence"]["N"]), WRITER.get()
        if new != old:
            self._demand(new == old + 1, f"{job_id}'s fence went from {old} to {new}")
            self._fences[writer] = new
        elif writer is not None:
            self._demand(self._fences.get(writer) == old, f"{job_id} was written by one that did not hold it")

    def _event(self, before: Item | None, after: Item | None) -> None:
        if before is not None or after is None:
            self.broken.append("an event was changed")
            return
        told = self._events[JobId(after["job_id"]["S"])]
        told.append(after["type"]["S"])
        self._demand(int(after["seq"]["N"]) == len(told), "events count without a gap")

    def _demand(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - what is demanded is the argument
        if not holds:
            self.broken.append(otherwise)

    def _running(self, tenant: TenantId) -> int:
        return sum(
            status is Status.RUNNING and self._tenants[job_id] == tenant for job_id, status in self._statuses.items()
        )

    def _gate(self, tenant: TenantId, name: str) -> int:
        gate = self._item(tables.JOBS, tenant, "GATE")
        return 0 if gate is None else int(gate[name]["N"])

    def _item(self, table: tables.Table, tenant: TenantId, sort: str) -> Item | None:
        found = [
            item
            for (name, partition, key), item in self._items.held.items()
            if key == sort and partition == tables.tenant_partition(tenant) and name.endswith(table.name)
        ]
        return found[0] if found else None


_COURSE: Final = frozenset({"job.queued", "job.started", "job.progress"})
