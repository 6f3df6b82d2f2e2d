"""Ids as types of their own, parsed once at the edge.

A value of one of these types has been checked: what is behind the edge never re-parses. Record ids sort by
the time they were made (48-bit milliseconds, then 80 random bits, Crockford base32 in lower case).
"""

import re
import secrets
from datetime import datetime
from typing import Final, NewType

from tenancy.errors import InvalidIdError

TenantId = NewType("TenantId", str)
AgentName = NewType("AgentName", str)
InvocationId = NewType("InvocationId", str)
JobId = NewType("JobId", str)
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
    number = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
