"""The device authorization grant (RFC 8628) of the local identity provider: codes, and who approved them.

A code is approved by a file in the provider's state directory: whoever can write there can make tokens anyway, and
nobody else can, neither another account of the machine nor a web page that reaches loopback.
"""

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from ops.devstack.layout import write_private
from tenancy.clock import Clock
from tenancy.errors import LockgateError

GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
LIFETIME_S: Final = 900
INTERVAL_S: Final = 1
# RFC 8628, 6.1: no vowels, so that no words come about.
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
_HALF: Final = 4
_OPEN_LIMIT: Final = 1_000
_CODE = re.compile(rf"[{_LETTERS}]{{{_HALF}}}-[{_LETTERS}]{{{_HALF}}}")
_APPROVED: Final = b"approved"
_DENIED: Final = b"denied"

Refusal = Literal[
    "authorization_pending", "slow_down", "access_denied", "expired_token", "invalid_grant", "temporarily_unavailable"
]


class UserCodeInvalidError(LockgateError):
    """What was typed has not the shape of a code."""

    code = "user_code_invalid"


def decide(state: Path, typed: str, *, approved: bool) -> None:
    """Approve or deny the device that shows this code; raises UserCodeInvalidError."""
    code = typed.strip().upper()
    if not _CODE.fullmatch(code):
        raise UserCodeInvalidError(f"{typed!r} is no code: it looks like WDJB-MJHT")
    path = _decision(state, code)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, _APPROVED if approved else _DENIED)


@dataclass(slots=True)
class _Waiting:
    directory: str
    client_id: str
    user_code: str
    ends_at: datetime
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeviceGrants:
    """The devices that wait for somebody to approve them; they are forgotten when the provider ends."""

    state: Path
    clock: Clock
    _waiting: dict[str, _Waiting] = field(default_factory=dict)

    def begin(self, directory: str, client_id: str) -> tuple[str, str] | Refusal:
        """Return a new device code and its user code."""
        now = self.clock.now()
        for code in [code for code, one in self._waiting.items() if one.ends_at <= now]:
            del self._waiting[code]
        if len(self._waiting) >= _OPEN_LIMIT:
            return "temporarily_unavailable"
        first, last = ("".join(secrets.choice(_LETTERS) for _ in range(_HALF)) for _ in range(2))
        device_code, user_code = secrets.token_urlsafe(32), f"{first}-{last}"
        # A decision that was left behind is not about this device.
        _decision(self.state, user_code).unlink(missing_ok=True)
        self._waiting[device_code] = _Waiting(directory, client_id, user_code, now + timedelta(seconds=LIFETIME_S))
        return device_code, user_code

    def ask(self, directory: str, client_id: str, device_code: str) -> Refusal | None:
        """Return why there is no token yet; None once, where it is approved."""
        one, now = self._waiting.get(device_code), self.clock.now()
        if one is None or (one.directory, one.client_id) != (directory, client_id):
            return "invalid_grant"
        if one.ends_at <= now:
            return "expired_token"
        asked_at, one.asked_at = one.asked_at, now
        if asked_at is not None and now - asked_at < timedelta(seconds=INTERVAL_S):
            return "slow_down"
        path = _decision(self.state, one.user_code)
        if not path.exists():
            return "authorization_pending"
        approved = path.read_bytes() == _APPROVED
        path.unlink()
        del self._waiting[device_code]
        return None if approved else "access_denied"


def _decision(state: Path, user_code: str) -> Path:
    return state / "approvals" / user_code
