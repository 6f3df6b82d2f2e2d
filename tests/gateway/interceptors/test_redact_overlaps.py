"""Where what is found overlaps, nothing of either stays readable."""

from collections.abc import Iterator
from itertools import product

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.interceptors.folding import fold
from gateway.interceptors.redact import Redactor
from gateway.interceptors.rules import Policy, TenantPattern
from gateway.interceptors.scan import Scanner

PLAIN = Redactor(Policy("redact"))
OWN = Redactor(
    Policy("redact", (TenantPattern("code", r"[0-9]{2}[ .]?[0-9]{2}"), TenantPattern("tail", r"[a-z]{1,6}\d")))
)
SAMPLES = (
    "4111 1111 1111 1111",
    "378282246310005",
    "GB82 WEST 1234 5698 7654 32",
    "943 476 5919",
    "AB 12 34 56 C",
    "20-00-00 55779911",
    "+44 20 7946 0958",
    "020 7946 0958",
    "jane.doe@example.com",
    "10.0.0.1",
    "2001:db8::1",
)
PARTS = st.sampled_from(
    [*SAMPLES, *"0123456789 .-/+:@,", "00", "00 ", "1111", "0044", "\u200b", "\ufe0f", "\n", "x", " account ", "12 34"]
)
TEXTS = st.lists(PARTS, max_size=10).map("".join)


def every_match(scanner: Scanner, text: str) -> Iterator[range]:
    """Yield every match at every place, the slow way."""
    folded = fold(text)
    places = folded.places or range(len(text))
    for start in range(len(folded.text)):
        match = scanner._longest(folded.text, start)
        if match is not None:
            yield range(places[start], places[match.end - 1] + 1)


def said(redactor: Redactor, text: str) -> str:
    answer = redactor.whole(orjson.dumps(text))
    assert isinstance(answer, bytes)
    return str(orjson.loads(answer))


def streamed(redactor: Redactor, text: str, size: int) -> str:
    stream = redactor.stream()
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    out = [event for piece in pieces for event in stream.feed(orjson.dumps(piece))]
    return "".join(orjson.loads(event) for event in out + stream.finish())


def readable(redactor: Redactor, text: str) -> str:
    """Return what no match holds any of."""
    taken = {place for match in every_match(redactor.rules.scanner, text) for place in match}
    return "".join(character for place, character in enumerate(text) if place not in taken)


def unmarked(redacted: str) -> str:
    """Return a redacted text without its marks; no sample has brackets."""
    return "".join(part.rpartition("]")[2] for part in redacted.split("["))


@given(text=TEXTS, size=st.integers(1, 30))
@settings(max_examples=120, deadline=None)
def test_whatever_is_part_of_a_match_goes_and_nothing_else(text: str, size: int) -> None:
    for redactor in (PLAIN, OWN):
        redacted = said(redactor, text)
        # What does not show and stands between two that overlap goes with them.
        assert plain(unmarked(redacted)) == plain(readable(redactor, text))
        assert streamed(redactor, text, size) == redacted


def plain(text: str) -> str:
    return text.translate({0x200B: None, 0xFE0F: None})


@pytest.mark.parametrize(("first", "second"), list(product(SAMPLES, SAMPLES)))
def test_of_two_that_stand_together_nothing_stays(first: str, second: str) -> None:
    for between in ("", " ", "-", ".", "/", " 0", " 00 ", "+"):
        text = f"it is {first}{between}{second} ok"
        redacted = said(PLAIN, text)
        assert unmarked(redacted) == readable(PLAIN, text)
        assert streamed(PLAIN, text, 3) == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("total 100.00 4111 1111 1111 1111.", "total 100.[REDACTED:payment_card]."),
        ("at 10:00 4111 1111 1111 1111.", "at 10:[REDACTED:payment_card]."),
        ("room 009 4111 1111 1111 1111.", "room [REDACTED:payment_card]."),
        ("+1 4111 1111 1111 1111.", "[REDACTED:payment_card]."),
        ("+44 4111 1111 1111 1111.", "[REDACTED:payment_card]."),
        ("+1 415 555 2671 4111 1111 1111 1111.", "[REDACTED:payment_card]."),
        ("0044 20 79 943 476 5919.", "[REDACTED:nhs_number]."),
        ("a@b.example@c.example.", "[REDACTED:email]."),
        ("10.0.0.1, 10.0.0.2", "[REDACTED:ip_address], [REDACTED:ip_address]"),
    ],
)
def test_what_overlaps_is_one_and_a_phone_number_gives_its_name_up(text: str, redacted: str) -> None:
    assert said(PLAIN, text) == redacted
    for size in (1, 2, 3, 5, 8, 13):
        assert streamed(PLAIN, text, size) == redacted


def test_matches_of_an_own_pattern_that_overlap_are_one() -> None:
    assert said(OWN, "so 12345678 ok") == "so [REDACTED:code] ok"


def test_an_address_may_begin_inside_many_digits() -> None:
    text = 300 * "1" + "@example.com"
    assert said(PLAIN, text) == 236 * "1" + "[REDACTED:email]"
    assert streamed(PLAIN, text, 7) == said(PLAIN, text)
