"""The audit chain: what operators did, each event bound to the one before it by its hash.

There is a chain for each tenant, of what was done to it, and one for the platform itself. An event is stored in the
same transaction as the change it tells of, or the change is not made. `sha256` of an event covers all that is told of
it, `previous` among that, so that nothing can be changed, left out or put in without the chain saying so; the chain's
head, stored with each event, says how long it is.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

import orjson
from boto3.dynamodb.conditions import Attr
from pydantic import JsonValue

from tenancy import tables
from tenancy.audit import log_event
from tenancy.clock import Clock
from tenancy.data_models import AuditEvent, AuditHead, AuditLink
from tenancy.errors import ConditionFailedError, StoreBusyError, StoreUnavailableError
from tenancy.ids import TenantId
from tenancy.steps import NEW, PutStep, Step
from tenancy.store import TenantStores

# The chain of what was done to no tenant; no tenant can be called so.
PLATFORM: Final = TenantId("platform")
# What stands before the first event of a chain.
BEGINNING: Final = "0" * 64
# How often an event is linked anew because another one was faster.
TRIES: Final = 20
_PAUSE_S: Final = 0.01

Commit: TypeAlias = Callable[[Sequence[PutStep]], Awaitable[None]]
"""Stores a change and these steps together, or neither; raises ConditionFailedError where one's condition fails."""


class AuditChain:
    """Links events and stores them."""

    def __init__(self, stores: TenantStores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    async def append(self, event: AuditEvent, commit: Commit | None = None) -> AuditLink:
        """Store an event with the change it tells of; without `commit` it stands alone.

        Raises ConditionFailedError where the change's own condition failed, and StoreUnavailableError.
        """
        commit = commit or self.within(event.tenant_id)
        seen: AuditHead | None = None
        for tried in range(TRIES):
            head = await self.head(event.tenant_id)
            if head is None and seen is not None:
                # The chain was erased meanwhile: it is not begun anew.
                raise ConditionFailedError
            seen = head
            link = _linked(event, head)
            try:
                await commit(_steps(link, head))
            except StoreBusyError:
                pass
            except ConditionFailedError:
                if await self.head(event.tenant_id) == head:
                    raise
            else:
                log_event(link)
                return link
            await self._clock.sleep(_PAUSE_S * (1 + secrets.randbelow(1 + tried)))
        raise StoreUnavailableError

    def within(self, tenant_id: TenantId, *steps: Step) -> Commit:
        """Return what stores changes of the tenant's own items."""

        async def commit(links: Sequence[PutStep]) -> None:
            await self._stores.db(tenant_id).transact([*steps, *links])

        return commit

    async def head(self, chain: TenantId) -> AuditHead | None:
        """Return the end of a chain, as last written; None where nothing was done yet."""
        return await self._stores.db(chain).get(AuditHead, AuditHead.key_of(chain, ""), consistent=True)

    async def links(self, chain: TenantId, *, after: int = 0, limit: int = 100) -> tuple[AuditLink, ...]:
        """Return up to `limit` events of a chain in their order, those behind number `after`."""
        page = await self._stores.db(chain).query(
            AuditLink,
            tables.tenant_partition(chain),
            sort_prefix=AuditLink.SORT_PREFIX,
            limit=limit,
            after=f"{AuditLink.SORT_PREFIX}{after:012d}",
            newest_first=False,
            consistent=True,
        )
        return page.items


def told(event: AuditEvent) -> dict[str, JsonValue]:
    """Return an event as it is exported and, without its own hash, as it is hashed."""
    said: dict[str, JsonValue] = {
        "auditId": event.audit_id,
        "at": moment_text(event.at),
        "actor": event.actor,
        "actingTenant": event.acting_tenant,
        "targetTenant": None if event.tenant_id == PLATFORM else event.tenant_id,
        "operation": event.operation,
        "target": event.target,
        "before": {change.field: orjson.loads(change.before) for change in event.changes},
        "after": {change.field: orjson.loads(change.after) for change in event.changes},
        "outcome": event.outcome,
        "reason": event.reason,
        "requestId": event.request_id,
    }
    if isinstance(event, AuditLink):
        said |= {"chain": event.tenant_id, "seq": event.seq, "previous": event.previous, "sha256": event.sha256}
    return said


def digest(said: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256 of what is told of an event, whatever it says its hash is."""
    covered = {name: value for name, value in said.items() if name != "sha256"}
    return hashlib.sha256(orjson.dumps(covered, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain is broken: the first event that does not fit, and in what way."""

    chain: str
    seq: int
    fault: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What an export proves: how many events each chain has, and the first break of each that is broken."""

    lengths: Mapping[str, int]
    breaks: tuple[Break, ...]


def proven(lines: Iterable[Mapping[str, JsonValue]]) -> Proof:
    """Recompute the chains of an export: its events in their chains' order, and the heads, which say how long each is.

    A line that is neither breaks the chain it names; a chain without a head is taken for cut off.
    """
    last: dict[str, tuple[int, str]] = {}
    breaks: dict[str, Break] = {}
    ended: set[str] = set()
    for line in lines:
        chain = str(line.get("chain"))
        if chain in breaks:
            continue
        number, known = last.get(chain, (0, BEGINNING))
        if "head" in line:
            ended.add(chain)
            fault = _head_fault(line["head"], number, known)
        else:
            fault = _link_fault(line, number, known)
            number += 1
            last[chain] = (number, str(line.get("sha256")))
        if fault is not None:
            breaks[chain] = Break(chain, number, fault)
    for chain in last.keys() - ended - breaks.keys():
        breaks[chain] = Break(chain, last[chain][0], "its head is missing: the export was cut off")
    lengths = {chain: number for chain, (number, _) in last.items()}
    return Proof(lengths, tuple(breaks.values()))


def head_line(chain: TenantId, head: AuditHead) -> dict[str, JsonValue]:
    """Return the line of an export that says where a chain ends."""
    return {"chain": chain, "head": {"seq": head.seq, "sha256": head.sha256}}


def unreadable_line(chain: TenantId) -> dict[str, JsonValue]:
    """Return the line of an export that stands for what is no event."""
    return {"chain": chain, "unreadable": True}


def _link_fault(line: Mapping[str, JsonValue], number: int, known: str) -> str | None:
    if "unreadable" in line:
        return f"what is stored behind event {number} cannot all be read"
    if line.get("seq") != number + 1:
        return f"event {number + 1} is missing: event {line.get('seq')} follows {number}"
    if line.get("previous") != known:
        return f"it names another event before it than event {number}"
    return None if line.get("sha256") == digest(line) else "what it tells is not what was hashed"


def _head_fault(head: JsonValue, number: int, known: str) -> str | None:
    if not isinstance(head, dict) or head.get("seq") != number:
        return f"the chain ends at event {number}, its head says otherwise"
    return None if head.get("sha256") == known else "the head names another last event"


def _linked(event: AuditEvent, head: AuditHead | None) -> AuditLink:
    seq, previous = (1, BEGINNING) if head is None else (head.seq + 1, head.sha256)
    link = AuditLink(**dict(event), seq=seq, previous=previous, sha256="")
    return link.model_copy(update={"sha256": digest(told(link))})


def _steps(link: AuditLink, head: AuditHead | None) -> tuple[PutStep, PutStep]:
    risen = AuditHead(tenant_id=link.tenant_id, seq=link.seq, sha256=link.sha256)
    unmoved = NEW if head is None else Attr("seq").eq(head.seq) & Attr("sha256").eq(head.sha256)
    return PutStep(link, NEW), PutStep(risen, unmoved)


def moment_text(moment: datetime) -> str:
    """Return a moment as exports tell it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
