"""Numbers of every day that are nobody's: none of them is taken for personal data."""

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from gateway.interceptors.redact import Redactor
from gateway.interceptors.rules import Policy

REDACTOR = Redactor(Policy("redact"))
Some = Callable[[random.Random], str]


def moment(some: random.Random) -> datetime:
    return datetime(2015, 1, 1, tzinfo=UTC) + timedelta(seconds=some.randrange(500_000_000))


def dated(form: str) -> Some:
    return lambda some: moment(some).strftime(form)


def number(least: int, most: int) -> Some:
    return lambda some: str(some.randint(least, most))


EVERYDAY: dict[str, Some] = {
    "date": dated("%Y-%m-%d"),
    "British date": dated("%d/%m/%Y"),
    "dotted date": dated("%d.%m.%Y"),
    "short date": dated("%m/%d/%y"),
    "time": dated("%H:%M:%S"),
    "timestamp": dated("%Y-%m-%dT%H:%M:%S.123Z"),
    "compact timestamp": dated("%Y%m%d%H%M%S"),
    "logged": dated("%Y/%m/%d %H:%M:%S"),
    "version": lambda some: ".".join(str(some.randrange(40)) for _ in range(3)),
    "release": lambda some: (
        f"v{some.randrange(9)}.{some.randrange(90)}.0-rc.{some.randrange(9)}+{some.randrange(9999)}"
    ),
    "amount": lambda some: f"{some.randrange(9999):,}.{some.randrange(100):02}",
    "price": lambda some: f"£{some.randrange(9999)}.{some.randrange(100):02}",
    "single digits": number(1, 9),
    "two digits": number(10, 99),
    "three digits": number(100, 999),
    "five digits": number(10_000, 99_999),
    "year": number(1950, 2030),
    "eight digits": number(10_000_000, 99_999_999),
    "order": lambda some: f"ORD-{some.randrange(99_999):05}-{some.randrange(9999):04}",
    "path": lambda some: f"/v1/items/{some.randrange(9999)}/parts/{some.randrange(99)}",
}


def hits(text: str) -> int:
    answer = REDACTOR.whole(orjson.dumps(text))
    assert isinstance(answer, bytes)
    return answer.count(b"[REDACTED:")


@pytest.mark.parametrize("separator", [", ", "\n", "\t", " | ", "/", " - "])
@pytest.mark.parametrize("name", EVERYDAY)
def test_lists_of_everyday_numbers_stay(name: str, separator: str) -> None:
    some = random.Random(f"{name}{separator}")  # noqa: S311 the same numbers every time
    texts = [separator.join(EVERYDAY[name](some) for _ in range(12)) for _ in range(12)]
    assert [text for text in texts if hits(text)] == []


def test_identifiers_stay() -> None:
    some = random.Random("identifiers")  # noqa: S311 the same ones every time
    texts = [str(uuid.UUID(int=some.getrandbits(128), version=4)) for _ in range(40)]
    texts += [f"{some.getrandbits(160):040x}" for _ in range(40)]
    assert [text for text in texts if hits(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "Invoice 2026-0042 of 23.11.2026: 3 x 1,250.00 = 3,750.00, due in 30 days (order 45001234 - 45001239)",
        "Python 3.11.9, OpenSSL 3.0.13 30 Jan 2024, kernel 6.8.0-45-generic #45-Ubuntu SMP",
        "Chapter 4, sections 4.1.1 - 4.1.19, pages 111/112, ISBN-like 12-34",
        "Meet at 10:30 or 14:15 on 2026-11-23/24, room 4.11, seats 11 - 19",
        "range 0x7f00 0000 .. 0x7fff ffff, mask ff00, port 8080/tcp, 99.95 % over 28 days",
        "Lat 51.5074, long -0.1278; 1 mi = 1.609344 km; pi is 3.14159265358979",
        "CASE NR 123456. A letter of 12 Nov. 2026 / ref. 78",
    ],
)
def test_sentences_with_numbers_stay(text: str) -> None:
    assert hits(text) == 0
