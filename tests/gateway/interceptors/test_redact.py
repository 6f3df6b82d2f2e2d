"""What is personal data and what only looks like it, in whole answers."""

import orjson
import pytest

from gateway.interceptors.errors import InterceptorFailedError, PatternRefusedError
from gateway.interceptors.redact import Blocked, Redactor
from gateway.interceptors.rules import Policy, TenantPattern

FULL_WIDTH = {ord("0") + digit: 0xFF10 + digit for digit in range(10)}
ARABIC = {ord("0") + digit: 0x0660 + digit for digit in range(10)}


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor(Policy("redact"))


def said(redactor: Redactor, text: str) -> str:
    answer = redactor.whole(orjson.dumps({"text": text}))
    assert isinstance(answer, bytes)
    return str(orjson.loads(answer)["text"])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("payment_card", "4111111111111111"),
        ("payment_card", "4111 1111 1111 1111"),
        ("payment_card", "4111-1111-1111-1111"),
        ("payment_card", "4111.1111.1111.1111"),
        ("payment_card", "4111\u00a01111\u00a01111\u00a01111"),
        ("payment_card", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
        ("payment_card", "378282246310005"),
        ("payment_card", "3782 822463 10005"),
        ("payment_card", "5555 5555 5555 4444"),
        ("payment_card", "2223003122003222"),
        ("payment_card", "6011 1111 1111 1117"),
        ("payment_card", "30569309025904"),
        ("payment_card", "4222222222222"),
        ("nhs_number", "943 476 5919"),
        ("nhs_number", "943-476-5919"),
        ("nhs_number", "9434765919"),
        ("ni_number", "AB123456C"),
        ("ni_number", "ab 12 34 56 c"),
        ("ni_number", "AB 123456 C"),
        ("ni_number", "AB-12-34-56-C"),
        ("iban", "GB82WEST12345698765432"),
        ("iban", "GB82 WEST 1234 5698 7654 32"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("iban", "NO93 8601 1117 947"),
        ("iban", "MT84 MALT 0110 0001 2345 MTLC AST0 01S"),
        ("bank_account", "20-00-00 55779911"),
        ("bank_account", "200000 55779911"),
        ("bank_account", "20 00 00, 55779911"),
        ("bank_account", "20-00-00 and account number: 55779911"),
        ("bank_account", "20-00-00 a/c no. 55779911"),
        ("bank_account", "55779911, sort code: 20-00-00"),
        ("email", "jane.doe@example.com"),
        ("email", "jane+tag@mail.example.co.uk"),
        ("email", "josé@exämple.com"),
        ("phone", "+44 20 7946 0958"),
        ("phone", "+44 (0)20 7946 0958"),
        ("phone", "+14155552671"),
        ("phone", "+1 (415) 555-2671"),
        ("phone", "0044 20 7946 0958"),
        ("phone", "020 7946 0958"),
        ("phone", "07700 900123"),
        ("ip_address", "10.0.0.1"),
        ("ip_address", "2001:db8::1"),
        ("ip_address", "fe80::dead:beef"),
        ("ip_address", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
        ("ip_address", "::ffff:192.0.2.1"),
    ],
)
def test_personal_data_is_redacted(redactor: Redactor, kind: str, text: str) -> None:
    assert said(redactor, f"it is {text}, ok") == f"it is [REDACTED:{kind}], ok"
    assert said(redactor, text) == f"[REDACTED:{kind}]"


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "41111111111111111111111",
        "1111111111111117",
        "943 476 5918",
        "94347659190",
        "BG123456C",
        "AB123456E",
        "XAB123456C",
        "AB123456CD",
        "GB82WEST12345698765431",
        "XX82WEST12345698765432",
        "20-00-00",
        "55779911",
        "20-11-40 557799112",
        "jane@localhost",
        "@example",
        "1.2.3.456",
        "12:30:45",
        "2026-11-23T08:16:31Z",
        "std::vector and a::b",
        "version 1.22.333",
        "0.5 and 3.14159265358979",
    ],
)
def test_what_only_looks_like_personal_data_stays(redactor: Redactor, text: str) -> None:
    assert said(redactor, f"it is {text}, ok") == f"it is {text}, ok"


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1111".translate(FULL_WIDTH),
        "4111 1111 1111 1111".translate(ARABIC),
        "4111\u200b1111\u200b1111\u200b1111",
        "4111\u20131111\u20111111\u22121111",
        "\U0001d7d2111111111111111",
    ],
)
def test_digits_of_any_script_and_any_separator_do_not_evade(redactor: Redactor, text: str) -> None:
    assert said(redactor, f"é {text} é") == "é [REDACTED:payment_card] é"


def test_a_card_is_found_between_other_numbers(redactor: Redactor) -> None:
    assert said(redactor, "1 4111 1111 1111 1111 123") == "1 [REDACTED:payment_card] 123"


def test_escapes_do_not_evade_and_stay_where_untouched(redactor: Redactor) -> None:
    answer = redactor.whole(rb'{ "a" : "\u00e9\/ \u0034111 1111\u00201111 1111 \u00e9\ud83d\ude00" }')
    assert answer == rb'{ "a" : "\u00e9\/ [REDACTED:payment_card] \u00e9\ud83d\ude00" }'


def test_half_a_surrogate_pair_stays(redactor: Redactor) -> None:
    assert redactor.whole(rb'["\ud83d 10.0.0.1 \ude00"]') == rb'["\ud83d [REDACTED:ip_address] \ude00"]'


def test_what_is_clean_comes_back_as_the_same_bytes(redactor: Redactor) -> None:
    for clean in (b' {"b":1,  "a":"\\u00e9","c":1.50e3}\n', b'"x"', b"1", b"null", '{"é":"ü 12"}'.encode()):
        assert redactor.whole(clean) == clean


def test_a_card_number_written_as_a_number_becomes_a_string(redactor: Redactor) -> None:
    answer = redactor.whole(b'{"card":4111111111111111,"nhs":9434765919,"at":1763885791,"ms":1763885791000,"x":-1.5}')
    assert answer == (
        b'{"card":"[REDACTED:payment_card]","nhs":"[REDACTED:nhs_number]","at":1763885791,"ms":1763885791000,"x":-1.5}'
    )


def test_keys_are_texts_too(redactor: Redactor) -> None:
    assert redactor.whole(b'{"jane@example.com":{"a":1}}') == b'{"[REDACTED:email]":{"a":1}}'


def test_each_of_two_members_of_one_name_is_seen(redactor: Redactor) -> None:
    assert redactor.whole(b'{"a":"10.0.0.1","a":"x"}') == b'{"a":"[REDACTED:ip_address]","a":"x"}'


def test_values_of_a_whole_answer_are_not_joined(redactor: Redactor) -> None:
    clean = b'["4111 1111 ","1111 1111"]'
    assert redactor.whole(clean) == clean


def test_a_blocked_answer_names_the_kind_alone() -> None:
    assert Redactor(Policy("block")).whole(b'{"a":"jane@example.com"}') == Blocked("email")
    assert Redactor(Policy("block")).whole(b'{"a":"jane"}') == b'{"a":"jane"}'


@pytest.mark.parametrize("broken", [b'{"a":"10.0.0.1"', b'["10.0.0.1"]]', b"10.0.0.1", b'{"a":"\x0010.0.0.1"}'])
def test_what_is_no_json_fails_closed(redactor: Redactor, broken: bytes) -> None:
    with pytest.raises(InterceptorFailedError):
        redactor.whole(broken)


def test_a_tenants_own_pattern_is_a_kind_of_its_own() -> None:
    redactor = Redactor(Policy("redact", (TenantPattern("employee", r"(?i)\bEMP-\d{6}\b"),)))
    assert said(redactor, "emp-123456 EMP-1234567 TEMP-123456") == "[REDACTED:employee] EMP-1234567 TEMP-123456"
    assert said(redactor, "EMP-123456".translate(FULL_WIDTH)) == "[REDACTED:employee]"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"a+", "its matches may be longer than 256 characters"),
        (r"a{257}", "its matches may be longer than 256 characters"),
        (r"a{0,3}", "it matches the empty text"),
        (r"(a)\1", "the linear-time engine does not take it"),
        (r"(?<=a)b", "the linear-time engine does not take it"),
        (r"(", "the linear-time engine does not take it"),
        (r"^ab", "a stream has no lines: ^ and $ are not supported"),
        (r"(?s)a.", "no flag but (?i) is supported"),
        (r"a(?i:b)", "no flag but (?i) at its beginning is supported"),
        ("é", "it must be written in ASCII; digits and blanks of other scripts are folded"),
    ],
)
def test_a_pattern_that_is_not_linear_and_finite_is_refused_by_name(pattern: str, reason: str) -> None:
    with pytest.raises(PatternRefusedError) as refused:
        Redactor(Policy("redact", (TenantPattern("mine", pattern),)))
    assert (refused.value.name, refused.value.reason) == ("mine", reason)
    assert str(refused.value) == f"pattern mine: {reason}"


def test_a_pattern_as_wide_as_allowed_is_taken() -> None:
    assert Redactor(Policy("redact", (TenantPattern("wide", "a{256}"),))).rules.width == 256
