import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bodies import parse_invocation
from gateway.errors import BodyMalformedError, FieldsInvalidError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_an_input(value: object) -> None:
    encoded = orjson.dumps(value)
    assert parse_invocation(b'{"input":' + encoded + b"}").input_json == encoded


@pytest.mark.parametrize(
    "text", [b"12345678901234567890123456789", b"1.10", b'{"b": 1, "a":  2}', b'"\\u00e9"', b"null", b"-0"]
)
def test_the_input_is_passed_on_as_the_tenant_wrote_it(text: bytes) -> None:
    assert parse_invocation(b'{"metadata": {"k": "v"}, "input": ' + text + b" }").input_json == text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"input": NaN}',
        b'{"input": Infinity}',
        b'{"input": 1E400}',
        b'{"input": "\xff"}',
        b'{"input": "\\ud800"}',
        b'{"input": 1}x',
        b"\xef\xbb\xbf{}",
        b'{"input":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(BodyMalformedError):
        parse_invocation(body)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"[]", ""),
        (b'"input"', ""),
        (b"{}", "/input"),
        (b'{"input": 1, "sessionId": 5}', "/sessionId"),
        (b'{"input": 1, "session_id": "x"}', ""),
        (b'{"input": 1, "surprise": 1}', ""),
        (b'{"input": 1, "metadata": []}', "/metadata"),
        (b'{"input": 1, "metadata": {"k": "' + b"v" * 5000 + b'"}}', "/metadata"),
        (b'{"input": 1, "webhookId": "' + b"w" * 65 + b'"}', "/webhookId"),
    ],
)
def test_a_wrong_field_is_named(body: bytes, pointer: str) -> None:
    with pytest.raises(FieldsInvalidError) as refused:
        parse_invocation(body)
    assert [fault.pointer for fault in refused.value.faults] == [pointer]


def test_a_refusal_never_quotes_what_was_sent() -> None:
    body = b'{"input": 1, "SECRET-NAME": "SECRET-VALUE", "sessionId": {"SECRET-KEY": 1}, "metadata": "SECRET-TEXT"}'
    with pytest.raises(FieldsInvalidError) as refused:
        parse_invocation(body)
    assert "SECRET" not in repr(refused.value.faults)
