"""Refusals that several operations answer alike, each described once: most of the description would be repetition."""

from itertools import count
from typing import Final

from gateway.openapi.models import Json

REF: Final = "#/components/responses/"


class Shared:
    """Collects descriptions of refusals by status; those that are alike have one name."""

    def __init__(self) -> None:
        self._responses: dict[str, Json] = {}

    @property
    def responses(self) -> Json:
        """Every description so far, by name."""
        return dict(sorted(self._responses.items()))

    def refer(self, status: str, refusal: Json) -> Json:
        """Return a reference to the description, which is added unless it is there."""
        names = (f"refused_{status}_{number}" for number in count(1))
        name = next(name for name in names if self._responses.setdefault(name, refusal) == refusal)
        return {"$ref": REF + name}
