"""What the local webhook receiver got: each attempt as it came, and whether its signature is good.

Whether it is good is for the public `standardwebhooks` library to say: none of Lockgate's own code has a part in it.
"""

import base64
import binascii
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter
from pydantic.alias_generators import to_camel
from standardwebhooks import Webhook, WebhookVerificationError

from ops.devstack.layout import write_private

KEPT: Final = 1_000
# Those that tell something of an attempt; the rest is HTTP's own business.
SHOWN_HEADERS: Final = (
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "content-type",
    "content-length",
    "user-agent",
)
_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = range(24, 65)


def _decodable(secret: str) -> str:
    try:
        size = len(base64.b64decode(secret.removeprefix(_PREFIX), validate=True))
    except binascii.Error:
        raise ValueError("is not base64") from None
    if size not in _SECRET_BYTES:
        raise ValueError(f"has {size} bytes, not {_SECRET_BYTES.start} to {_SECRET_BYTES.stop - 1}")
    return secret


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Secret = Annotated[str, Field(pattern=f"^{_PREFIX}"), AfterValidator(_decodable)]
NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)
_SECRETS: Final = TypeAdapter(dict[Name, Secret])


class ReceiverModel(BaseModel):
    """JSON in camelCase, as the API has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Receipt(ReceiverModel):
    """One attempt to deliver.

    `id` is its webhook-id, which every attempt of one event shares; `body` is the text that was signed, `payload` the
    same as JSON. `reason` says why it is not verified. `answered` is the status it was answered with, None where it
    got no answer, or has none yet.
    """

    id: str
    name: str
    type: str | None
    verified: bool
    reason: str | None = None
    received_at: AwareDatetime
    answered: int | None = None
    headers: Mapping[str, str]
    body: str
    payload: JsonValue = None


class Receipts:
    """The latest attempts, the oldest forgotten first."""

    def __init__(self) -> None:
        self._kept: Final[deque[Receipt]] = deque(maxlen=KEPT)

    def add(self, receipt: Receipt) -> None:
        """Keep one more."""
        self._kept.append(receipt)

    def answered(self, receipt: Receipt, status: int) -> None:
        """Write down what an attempt was answered with, unless it is forgotten by now."""
        # By identity: two attempts may be equal in all they say.
        for place, kept in enumerate(self._kept):
            if kept is receipt:
                self._kept[place] = receipt.model_copy(update={"answered": status})
                return

    def newest(self, *, webhook_id: str | None = None, name: str | None = None) -> list[Receipt]:
        """Return those of one webhook-id, or of one name, or all, the newest first."""
        return [
            receipt
            for receipt in reversed(self._kept)
            if webhook_id in (None, receipt.id) and name in (None, receipt.name)
        ]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


class Secrets:
    """The secrets of what is received, by name; kept over restarts, closed to others."""

    def __init__(self, state: Path) -> None:
        self._path: Final = state / "secrets.json"
        self._known: Final = _SECRETS.validate_json(self._path.read_bytes()) if self._path.exists() else {}

    def get(self, name: str) -> str | None:
        """Return the secret of this name."""
        return self._known.get(name)

    def put(self, name: str, secret: str) -> None:
        """Verify what comes to this name with another secret from now on."""
        self._known[name] = secret
        self._save()

    def remove(self, name: str) -> None:
        """Forget a secret."""
        self._known.pop(name, None)
        self._save()

    @property
    def names(self) -> list[str]:
        """The names that have a secret."""
        return sorted(self._known)

    def _save(self) -> None:
        write_private(self._path, _SECRETS.dump_json(self._known, indent=2))


def why_unverified(secret: str | None, name: str, headers: Mapping[str, str], body: bytes) -> str | None:
    """Return why an attempt is not to be trusted, None where it is."""
    if secret is None:
        return f"no secret is known here: PUT /secrets/{name}"
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except WebhookVerificationError as refused:
        return str(refused)
    except ValueError:
        # The library lets these through: a signature without a comma, or not base64; a body that is not UTF-8.
        return "Malformed signature or body"
    return None


def payload_of(body: bytes) -> JsonValue:
    """Return a body as JSON; None where it is none."""
    try:
        payload: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return payload


def type_of(payload: JsonValue) -> str | None:
    """Return the event's type as a payload says it."""
    said = payload.get("type") if isinstance(payload, dict) else None
    return said if isinstance(said, str) else None
