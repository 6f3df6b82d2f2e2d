"""Who was refused at the door, as security events: counted, and written as one event for all alike of a few seconds.

Whoever is refused may try as often as it likes; what it costs to tell of that is bounded.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from tenancy.audit import AuditTrail
from tenancy.chain import PLATFORM
from tenancy.clock import Clock
from tenancy.data_models import AuditedChange, AuditEvent
from tenancy.ids import TenantId, new_audit_id

EVERY_S: Final = 5.0
# More kinds than this between two writings are told as one.
KINDS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """What refusals are alike in: why, and who it was where that is known."""

    code: str
    tenant_id: TenantId | None = None
    subject: str | None = None


_MANY: Final = Kind("many")


class Refused:
    """Counts refusals and tells of them."""

    def __init__(self, audit: AuditTrail, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._counts: Counter[Kind] = Counter()

    def note(self, code: str, tenant_id: TenantId | None = None, subject: str | None = None) -> None:
        """Count a refusal."""
        kind = Kind(code, tenant_id, subject)
        self._counts[kind if kind in self._counts or len(self._counts) < KINDS_MAX else _MANY] += 1

    def tell(self) -> None:
        """Hand what was counted to the audit trail."""
        counts, self._counts = self._counts, Counter()
        now = self._clock.now()
        for kind, count in counts.items():
            self._audit.record(
                AuditEvent(
                    tenant_id=kind.tenant_id or PLATFORM,
                    audit_id=new_audit_id(now),
                    actor=kind.subject or "unknown",
                    acting_tenant=kind.tenant_id,
                    operation="http.authenticate",
                    outcome="refused",
                    reason=kind.code,
                    changes=(AuditedChange(field="times", before="0", after=str(count)),),
                    at=now,
                )
            )

    async def run(self) -> None:
        """Tell every few seconds, until cancelled, and then once more."""
        try:
            while True:
                await self._clock.sleep(EVERY_S)
                self.tell()
        finally:
            self.tell()
