"""The tools' door as an agent sees it: where it is, and the token of the moment to come in with.

The token is the platform's, good for some minutes; while the turn or job runs it is renewed beside it, in a thread of
its own, so that a handler that is silent for an hour can still call a tool afterwards. Once the work is over nothing
renews it, and the door takes it no more.
"""

import base64
import binascii
import json
import threading
import time
import urllib.request
from concurrent.futures import Future
from typing import Any

RENEW = "/v1/tool-tokens/renew"
# What is left of a token when it is renewed, and the pause after a try that failed.
LEFT_S = 90.0
PAUSE_S = 10.0
TIMEOUT_S = 10.0


class ToolDoor:
    """Where an agent calls tools for the tenant it works for. Safe to use from any thread."""

    def __init__(self, token: str) -> None:
        said = _claims(token)
        self.url: str = said["aud"]
        if not self.url.startswith(("https://", "http://")) or not self.url.startswith(said["iss"]):
            raise ValueError("no address of a door")
        self._renewals: str = said["iss"] + RENEW
        self._token = token
        self._left_s = float(said["exp"] - said["iat"])

    def headers(self) -> dict[str, str]:
        """Return the header to come in with; ask anew for each connection, for it changes."""
        return {"Authorization": f"Bearer {self._token}"}

    def keep(self, work: "Future[Any]") -> None:
        """Renew the token until the work is over; the kit calls it."""
        over = threading.Event()
        work.add_done_callback(lambda _: over.set())
        threading.Thread(target=self._renew_until, args=(over,), name="lockgate-kit-tools", daemon=True).start()

    def _renew_until(self, over: threading.Event) -> None:
        ends = time.monotonic() + self._left_s
        while not over.wait(max(0.0, ends - LEFT_S - time.monotonic())):
            try:
                self._token = self._renewed()
                ends = time.monotonic() + self._left_s
            except (OSError, ValueError, KeyError):
                # Refused or away: tried again for as long as the token could still be good.
                if time.monotonic() > ends or over.wait(PAUSE_S):
                    return

    def _renewed(self) -> str:
        # The address was seen to be HTTP.
        request = urllib.request.Request(self._renewals, data=b"", headers=self.headers(), method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            token: str = json.loads(answer.read())["token"]
        _claims(token)
        return token


def door_of(token: str | None) -> ToolDoor | None:
    """Return the door that a token opens; None without a token, or with one that is none."""
    try:
        return None if not token else ToolDoor(token)
    except (ValueError, KeyError, TypeError):
        return None


def _claims(token: str) -> dict[str, Any]:
    # Unchecked: it came from the platform, in a header that nobody else can set.
    _, payload, _ = token.split(".")
    try:
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except binascii.Error as error:
        raise ValueError("no token") from error
    return claims
