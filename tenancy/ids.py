"""Ids as types of their own, parsed once at the edge.

A value of one of these types has been checked: what is behind the edge never re-parses. Record ids sort by
the time they were made (48-bit milliseconds, then 80 random bits, Crockford base32 in lower case).
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NewType

from tenancy.errors import InvalidIdError

TenantId = NewType("TenantId", str)
AgentName = NewType("AgentName", str)
InvocationId = NewType("InvocationId", str)
JobId = NewType("JobId", str)
WebhookId = NewType("WebhookId", str)
EventId = NewType("EventId", str)
DeliveryId = NewType("DeliveryId", str)
KeyId = NewType("KeyId", str)
SessionId = NewType("SessionId", str)
RequestId = NewType("RequestId", str)
PrincipalId = NewType("PrincipalId", str)

RESERVED_TENANTS: Final = frozenset({"platform", "admin", "root", "system", "stub"})

_TENANT = re.compile(r"[a-z](?:[a-z0-9-]{1,30}[a-z0-9])", re.ASCII)
_AGENT = re.compile(r"[a-z][a-z0-9-]{0,46}[a-z0-9]", re.ASCII)
_RECORD = re.compile(r"[0-9a-hjkmnp-tv-z]{26}", re.ASCII)
# AgentCore accepts 33..256 on the way in but models 1..100 on the way out: the overlap is safe.
_SESSION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{32,99}", re.ASCII)
_REQUEST = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
# Two digits at a time.
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]
_SHIFTS: Final = range(120, -1, -10)
_TIME_SHIFTS: Final = range(40, -1, -10)
# A random byte as a digit, each digit for eight of the bytes: none is likelier than another.
_DIGIT_OF: Final = bytes(ord(_ALPHABET[byte % 32]) for byte in range(256))


def parse_tenant_id(text: str) -> TenantId:
    """Parse a tenant's id; raises InvalidIdError, also for the reserved ones."""
    if not _TENANT.fullmatch(text) or "--" in text or text in RESERVED_TENANTS:
        raise InvalidIdError("tenant id")
    return TenantId(text)


def parse_agent_name(text: str) -> AgentName:
    """Parse an agent's name; raises InvalidIdError."""
    if not _AGENT.fullmatch(text):
        raise InvalidIdError("agent name")
    return AgentName(text)


def parse_invocation_id(text: str) -> InvocationId:
    """Parse `inv_…`; raises InvalidIdError."""
    return InvocationId(_parse_record("inv_", text, "invocation id"))


def parse_job_id(text: str) -> JobId:
    """Parse `job_…`; raises InvalidIdError."""
    return JobId(_parse_record("job_", text, "job id"))


def parse_webhook_id(text: str) -> WebhookId:
    """Parse `wh_…`; raises InvalidIdError."""
    return WebhookId(_parse_record("wh_", text, "webhook id"))


def parse_event_id(text: str) -> EventId:
    """Parse `evt_…`; raises InvalidIdError."""
    return EventId(_parse_record("evt_", text, "event id"))


def parse_delivery_id(text: str) -> DeliveryId:
    """Parse `dlv_…`; raises InvalidIdError."""
    return DeliveryId(_parse_record("dlv_", text, "delivery id"))


def parse_key_id(text: str) -> KeyId:
    """Parse `key_…`; raises InvalidIdError."""
    return KeyId(_parse_record("key_", text, "key id"))


def parse_session_id(text: str) -> SessionId:
    """Parse a runtime session id (33 to 100 characters); raises InvalidIdError."""
    if not _SESSION.fullmatch(text):
        raise InvalidIdError("session id")
    return SessionId(text)


def parse_request_id(text: str) -> RequestId:
    """Parse a caller's `X-Request-Id`; raises InvalidIdError."""
    if not _REQUEST.fullmatch(text):
        raise InvalidIdError("request id")
    return RequestId(text)


def new_invocation_id(now: datetime) -> InvocationId:
    """Make an `inv_` id that sorts by `now`."""
    return InvocationId("inv_" + _sortable(now))


def new_job_id(now: datetime) -> JobId:
    """Make a `job_` id that sorts by `now`."""
    return JobId("job_" + _sortable(now))


def new_webhook_id(now: datetime) -> WebhookId:
    """Make a `wh_` id that sorts by `now`."""
    return WebhookId("wh_" + _sortable(now))


def new_event_id(now: datetime) -> EventId:
    """Make an `evt_` id that sorts by `now`."""
    return EventId("evt_" + _sortable(now))


def event_id_of(job_id: JobId) -> EventId:
    """Return the id of the one event that tells of a job's end."""
    return EventId("evt_" + job_id.removeprefix("job_"))


def event_id_once(*parts: str, at: datetime) -> EventId:
    """Return the id of the one event that tells of what `parts` name, always at the same `at`."""
    digest = hashlib.sha256(" ".join(parts).encode()).digest()
    return EventId("evt_" + _digits((int(at.timestamp() * 1000) << 80) | int.from_bytes(digest[:10]), _SHIFTS))


def moment_of(record_id: str) -> datetime:
    """Return when an id was made, to the millisecond."""
    milliseconds = 0
    for digit in record_id.partition("_")[2][:10]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(digit)
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def delivery_id_of(event_id: EventId, webhook_id: WebhookId, at: datetime) -> DeliveryId:
    """Return the id of the one delivery of an event, which happened `at`, to an endpoint; it sorts by that time."""
    # A job's event carries in its own id when the job was submitted, not when it ended.
    milliseconds = int(at.timestamp() * 1000)
    digest = hashlib.sha256(f"{event_id} {webhook_id}".encode()).digest()
    return DeliveryId("dlv_" + _digits((milliseconds << 80) | int.from_bytes(digest[:10]), _SHIFTS))


def new_key_id(now: datetime) -> KeyId:
    """Make a `key_` id that sorts by `now`."""
    return KeyId("key_" + _sortable(now))


def new_request_id(now: datetime) -> RequestId:
    """Make a `req_` id that sorts by `now`."""
    return RequestId("req_" + _sortable(now))


def new_audit_id(now: datetime) -> str:
    """Make an `aud_` id that sorts by `now`."""
    return "aud_" + _sortable(now)


def new_session_id() -> SessionId:
    """Make a session id of 52 characters, 192 of its bits random."""
    return SessionId("ses_" + secrets.token_hex(24))


def _parse_record(prefix: str, text: str, kind: str) -> str:
    if not text.startswith(prefix) or not _RECORD.fullmatch(text, len(prefix)):
        raise InvalidIdError(kind)
    return text


def _sortable(now: datetime) -> str:
    return _digits_of_time(int(now.timestamp() * 1000)) + secrets.token_bytes(16).translate(_DIGIT_OF).decode()


@lru_cache(maxsize=8)  # a request and its invocation mostly begin in one millisecond
def _digits_of_time(milliseconds: int) -> str:
    return _digits(milliseconds, _TIME_SHIFTS)


def _digits(number: int, shifts: range) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in shifts])
