import gc
import tracemalloc
from collections.abc import Callable

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


def nested(depth: int) -> bytes:
    """Return a body whose metadata hold lists in lists."""
    return b'{"input": 1, "metadata": {"k": ' + b"[" * depth + b"]" * depth + b"}}"


@pytest.mark.parametrize("depth", [1, 100, 250])
def test_metadata_may_be_nested(depth: int) -> None:
    assert parse_invocation(nested(depth)).request.metadata == orjson.loads(nested(depth))["metadata"]


@pytest.mark.parametrize("depth", [254, 255, 256, 1000])
def test_metadata_nested_too_deep_to_be_written_again_are_refused_by_name(depth: int) -> None:
    with pytest.raises(FieldsInvalidError) as refused:
        parse_invocation(nested(depth))
    assert [fault.pointer for fault in refused.value.faults] == ["/metadata"]


def test_any_number_of_unknown_members_is_one_fault() -> None:
    members = b",".join(b'"k%d": 1' % number for number in range(1000))
    with pytest.raises(FieldsInvalidError) as refused:
        parse_invocation(b'{"input": 1, ' + members + b"}")
    assert [fault.pointer for fault in refused.value.faults] == [""]


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the most memory that some work held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_metadata_that_are_too_large_are_refused_before_they_are_looked_into() -> None:
    body = b'{"input": 1, "metadata": {"k": [' + b'{"a": {"b": {}}}, ' * 10_000 + b"{}]}}"

    def refused() -> None:
        with pytest.raises(FieldsInvalidError):
            parse_invocation(body)

    assert peak_bytes(refused) < 1.25 * peak_bytes(lambda: orjson.loads(body))


def test_what_an_input_was_parsed_into_is_let_go() -> None:
    assert parse_invocation(b'{"input": [[], [], []]}').request.input is None


def test_an_input_of_many_parts_does_not_set_off_the_garbage_collector() -> None:
    body = b'{"input": [' + b"[]," * 100_000 + b"[]]}"
    begun: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        begun.append(phase)

    gc.collect()
    gc.callbacks.append(note)
    try:
        parse_invocation(body)
    finally:
        gc.callbacks.remove(note)
    # It may look once when it is let in again.
    assert begun.count("start") <= 1
    assert gc.isenabled()
