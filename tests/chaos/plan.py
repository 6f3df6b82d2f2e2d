"""What a seed does to a stack, and when: pure, so that one seed always plans the same."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

WORKERS: Final = ("worker-1", "worker-2")
GATEWAYS: Final = ("gateway-1", "gateway-2")
REDIS: Final = "redis"
STORE: Final = "store"
RUNTIME: Final = "runtime"


class Kind(StrEnum):
    """What is done to a part."""

    KILL = "kill"
    TERM = "term"
    FREEZE = "freeze"
    WIPE = "wipe"
    FLUSH = "flush"
    CUT_CLIENTS = "cut_clients"
    LOSE = "lose"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: at `at_s` after the load began, lasting `for_s` (down, standing still, or losing calls)."""

    at_s: float
    kind: Kind
    part: str
    for_s: float


@dataclass(frozen=True, slots=True)
class _Choice:
    weight: int
    kind: Kind
    parts: tuple[str, ...]
    shortest_s: float
    longest_s: float


_CHOICES: Final = (
    _Choice(6, Kind.KILL, WORKERS, 0.0, 4.0),
    _Choice(3, Kind.TERM, WORKERS, 0.0, 2.0),
    _Choice(3, Kind.FREEZE, WORKERS, 1.0, 8.0),
    _Choice(3, Kind.KILL, GATEWAYS, 0.0, 3.0),
    _Choice(2, Kind.TERM, GATEWAYS, 0.0, 2.0),
    _Choice(2, Kind.FREEZE, GATEWAYS, 1.0, 6.0),
    _Choice(2, Kind.KILL, (REDIS,), 0.0, 4.0),
    _Choice(1, Kind.TERM, (REDIS,), 0.0, 2.0),
    _Choice(1, Kind.WIPE, (REDIS,), 0.0, 3.0),
    _Choice(2, Kind.FLUSH, (REDIS,), 0.0, 0.0),
    _Choice(1, Kind.CUT_CLIENTS, (REDIS,), 0.0, 0.0),
    _Choice(2, Kind.FREEZE, (REDIS,), 1.0, 8.0),
    _Choice(1, Kind.KILL, (STORE,), 0.0, 1.0),
    _Choice(1, Kind.TERM, (STORE,), 0.0, 1.0),
    _Choice(2, Kind.FREEZE, (STORE,), 1.0, 7.0),
    _Choice(4, Kind.LOSE, (STORE,), 1.0, 4.0),
    _Choice(3, Kind.LOSE, (RUNTIME,), 1.0, 4.0),
)
# A worker that stands still for longer than its lease of 30 s; only where there is time for it.
_LONG_FREEZE: Final = _Choice(3, Kind.FREEZE, WORKERS, 32.0, 38.0)
_LONG_RUN_S: Final = 90.0
# The mean pause between two faults.
_PAUSE_S: Final = 2.0
_FIRST_S: Final = 1.0


def plan(seed: int, seconds: float) -> list[Fault]:
    """Return the faults of a seed, in order, none of which lasts much longer than `seconds`."""
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    choices = (*_CHOICES, _LONG_FREEZE) if seconds >= _LONG_RUN_S else _CHOICES
    weights = [choice.weight for choice in choices]
    faults: list[Fault] = []
    at_s = _FIRST_S
    while at_s < seconds:
        choice = rng.choices(choices, weights)[0]
        for_s = rng.uniform(choice.shortest_s, choice.longest_s)
        if choice is not _LONG_FREEZE or at_s + for_s <= seconds:
            faults.append(Fault(round(at_s, 2), choice.kind, rng.choice(choice.parts), round(for_s, 2)))
        at_s += rng.uniform(0.2, 2 * _PAUSE_S - 0.2)
    return faults
