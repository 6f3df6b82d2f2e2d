"""The catalogue of alarms as typed data; catalogue.toml holds it, and says what each field means.

Whoever raises alarms reads the same file: the watch over a local stack, and what makes CloudWatch's of them.
"""

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Metric = Annotated[str, Field(pattern=r"^lockgate_[a-z_]+$")]
Where = Mapping[str, tuple[str, ...]]

_FILE: Final = Path(__file__).with_name("catalogue.toml")


class Severity(StrEnum):
    """How soon an alarm wants somebody."""

    PAGE = "page"
    TICKET = "ticket"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rise(_Data):
    """A counter grew by so much."""

    rise: Metric
    where: Where = Field(default_factory=dict)
    by: float = Field(gt=0)
    within_s: int = Field(gt=0)


class Share(_Data):
    """So much of what a counter grew by was this."""

    share: Metric
    where: Where = Field(default_factory=dict)
    of: Metric
    percent: float = Field(gt=0, le=100)
    at_least: int = Field(gt=0)
    within_s: int = Field(gt=0)


class Level(_Data):
    """A gauge stands so high in some process."""

    level: Metric
    reaches: float


class Portion(_Data):
    """A gauge stands at so much of another."""

    portion: Metric
    of: Metric
    percent: float = Field(gt=0, le=100)


class Wrong(_Data):
    """Readiness names a check of a process; `ready` is the process as a whole."""

    wrong: str
    of: Literal["gateway", "worker"]


Condition = Rise | Share | Level | Portion | Wrong


class Alarm(_Data):
    """One alarm."""

    name: str = Field(pattern=r"^[a-z]+(-[a-z0-9]+)*$")
    severity: Severity
    runbook: str = Field(pattern=r"^\d{3}$")
    says: str = Field(pattern=r"\.$")
    when: tuple[Condition, ...] = Field(min_length=1)
    for_s: int = Field(0, ge=0)


@cache
def catalogue() -> tuple[Alarm, ...]:
    """Return every alarm, in the order of the file."""
    tables = TypeAdapter[dict[str, dict[str, object]]](dict[str, dict[str, object]]).validate_python(
        tomllib.loads(_FILE.read_text())
    )
    return tuple(Alarm.model_validate({"name": name, **fields}) for name, fields in tables.items())


def longest_s() -> int:
    """Return how far back any alarm looks."""
    windows = [one.within_s for alarm in catalogue() for one in alarm.when if isinstance(one, Rise | Share)]
    return max([*windows, *(alarm.for_s for alarm in catalogue())])


def metrics_of(alarm: Alarm) -> frozenset[str]:
    """Return the metrics an alarm looks at."""
    found: set[str] = set()
    for one in alarm.when:
        match one:
            case Rise():
                found.add(one.rise)
            case Share():
                found |= {one.share, one.of}
            case Level():
                found.add(one.level)
            case Portion():
                found |= {one.portion, one.of}
            case Wrong():
                pass
    return frozenset(found)
