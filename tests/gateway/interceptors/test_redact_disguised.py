"""Personal data in disguise: characters that do not show, digits of other scripts, and separators of many kinds."""

import orjson
import pytest

from gateway.interceptors.redact import Redactor
from gateway.interceptors.rules import Policy

REDACTOR = Redactor(Policy("redact"))
SAMPLES = {
    "payment_card": "4111111111111111",
    "iban": "GB82WEST12345698765432",
    "nhs_number": "9434765919",
    "ni_number": "AB123456C",
    "bank_account": "20-00-00 55779911",
    "email": "jane.doe@example.com",
    "phone": "+442079460958",
    "ip_address": "10.0.0.1",
}
GROUPED = {
    "payment_card": ("4111", "1111", "1111", "1111"),
    "iban": ("GB82", "WEST", "1234", "5698", "7654", "32"),
    "nhs_number": ("943", "476", "5919"),
    "ni_number": ("AB", "12", "34", "56C"),
}
UNSEEN = {
    "soft hyphen": "\u00ad",
    "grapheme joiner": "\u034f",
    "zero width space": "\u200b",
    "zero width joiner": "\u200d",
    "right-to-left mark": "\u200f",
    "bidi embedding": "\u202a",
    "bidi isolate": "\u2066",
    "word joiner": "\u2060",
    "invisible times": "\u2062",
    "not assigned yet": "\u2065",
    "swapping": "\u206a",
    "byte order mark": "\ufeff",
    "variation selector": "\ufe0f",
    "another one": "\U000e0100",
    "tag": "\U000e0061",
    "annotation": "\ufff9",
    "mongolian": "\u180b",
    "hangul filler": "\u3164",
    "half-width filler": "\uffa0",
    "khmer vowel": "\u17b4",
    "shorthand": "\U0001bca0",
    "musical": "\U0001d173",
    "accent": "\u0301",
    "keycap": "\u20e3",
    "null": "\x00",
    "delete": "\x7f",
    "C1 control": "\x84",
}
SEPARATORS = (
    " ", "  ", "   ", "\t", "\n", "\r\n", "\u0085", "\u2028", "\u2029", "\u00a0", "\u2009", "\u202f", "\u3000",
    "\u2800", "\u2003\u2003", "-", "--", "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2212", " - ", " \u2013 ",
    ".", ". ", "\u00b7", "\u2022", "/", " / ", "\u2044", "_", "\u200b \u200b", " \ufe0f-\u00ad ",
)  # fmt: skip


def said(text: str) -> str:
    answer = REDACTOR.whole(orjson.dumps(text))
    assert isinstance(answer, bytes)
    return str(orjson.loads(answer))


def streamed(text: str) -> str:
    stream = REDACTOR.stream()
    out = [event for character in text for event in stream.feed(orjson.dumps(character))]
    return "".join(orjson.loads(event) for event in out + stream.finish())


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("unseen", UNSEEN.values(), ids=list(UNSEEN))
def test_what_does_not_show_hides_nothing(kind: str, unseen: str) -> None:
    between_all = unseen.join(SAMPLES[kind])
    many_in_a_row = SAMPLES[kind][:4] + 16 * unseen + SAMPLES[kind][4:]
    for text in (between_all, many_in_a_row):
        assert said(f"it is {text}, ok") == f"it is [REDACTED:{kind}], ok"
    assert streamed(f"it is {many_in_a_row}, ok") == f"it is [REDACTED:{kind}], ok"


def test_more_in_a_row_than_may_be_held_end_a_match() -> None:
    text = "4111" + 17 * "\u200b" + "111111111111"
    assert said(text) == streamed(text) == text


def test_what_does_not_show_stays_where_nothing_is_found() -> None:
    for text in ("\u200b1234\ufe0f\u200d, \U0001f468\u200d\U0001f469 ok", "\u0301", 40 * "\u200b"):
        assert said(text) == streamed(text) == text


@pytest.mark.parametrize("kind", GROUPED)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_groups_may_be_apart_in_many_ways(kind: str, separator: str) -> None:
    text = separator.join(GROUPED[kind])
    assert said(f"it is {text}, ok") == f"it is [REDACTED:{kind}], ok"


@pytest.mark.parametrize(
    "text",
    [
        "20 - 00 - 00 55779911",
        "20\u201100\u201200 55779911",
        "20  00  00  55779911",
        "20\n00\n00\n55779911",
        "20.00.00, account 5577 9911",
        "20/00/00 account number: 55779911",
        "5577-9911 sort code 20.00.00",
        "55779911, 20 - 00 - 00",
    ],
)
def test_a_bank_account_may_be_written_in_many_ways(text: str) -> None:
    assert said(f"it is {text}, ok") == "it is [REDACTED:bank_account], ok"


@pytest.mark.parametrize("zero", ["\uff10", "\u0660", "\u06f0", "\u0966", "\u0e50", "\U0001d7ce", "\U0001fbf0"])
@pytest.mark.parametrize("kind", SAMPLES)
def test_digits_of_every_script_are_digits(kind: str, zero: str) -> None:
    text = SAMPLES[kind].translate({ord("0") + digit: ord(zero) + digit for digit in range(10)})
    assert said(f"it is {text}, ok") == f"it is [REDACTED:{kind}], ok"


def test_a_letter_and_its_accent_apart_are_a_letter() -> None:
    assert said("to jose\u0301@example.com, ok") == "to [REDACTED:email], ok"


@pytest.mark.parametrize(
    "text",
    [
        "4111    1111    1111    1111",
        "41111111\n11111111",
        "41111111 - 11111111",
        "4\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1",
    ],
)
def test_numbers_that_stand_as_in_a_table_are_no_card(text: str) -> None:
    assert said(text) == text
