"""Refusals that several operations answer alike, each described once: most of the description would be repetition."""

from collections.abc import Iterable
from itertools import count
from typing import Final

from gateway.openapi.models import Json

REF: Final = "#/components/responses/"


def kept(named: Json, names: Iterable[str], value: Json) -> str:
    """Keep a value under the first of these names that is free or stands for its like already; return the name."""
    return next(name for name in names if named.setdefault(name, value) == value)


class Shared:
    """Collects descriptions of refusals by status; those that are alike have one name."""

    def __init__(self) -> None:
        self._responses: Json = {}

    @property
    def responses(self) -> Json:
        """Every description so far, by name."""
        return dict(sorted(self._responses.items()))

    def refer(self, status: str, refusal: Json) -> Json:
        """Return a reference to the description, which is added unless it is there."""
        names = (f"refused_{status}_{number}" for number in count(1))
        return {"$ref": REF + kept(self._responses, names, refusal)}
