from decimal import Decimal

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from tenancy.attributes import decode, encode, encode_field
from tenancy.tiers import Tier

PLAIN = st.none() | st.booleans() | st.integers(-(10**38) + 1, 10**38 - 1) | st.text()
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(JSON)
def test_a_value_is_encoded_as_boto3_does(value: object) -> None:
    assert encode(value) == TypeSerializer().serialize(value)


@given(JSON)
def test_what_was_encoded_is_decoded_as_boto3_does(value: object) -> None:
    encoded = encode(value)
    assert decode(encoded) == TypeDeserializer().deserialize(encoded)


@pytest.mark.parametrize(
    "value", [Tier.BASIC, Decimal("1.50"), b"bytes", {"a", "b"}, {1, 2}, (1, "two"), [Tier.BASIC, b""]]
)
def test_what_is_not_written_directly_is_boto3s(value: object) -> None:
    assert encode(value) == TypeSerializer().serialize(value)


@given(st.lists(st.text(), unique=True))
def test_equal_sets_are_kept_as_equal_lists(values: list[str]) -> None:
    assert encode_field(frozenset(values)) == encode_field(frozenset(reversed(values))) == encode(sorted(values))


@pytest.mark.parametrize("value", [1.5, [1.5], float("nan"), 10**38, 10**38 + 1, object()])
def test_what_boto3_refuses_is_refused_alike(value: object) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever boto3 raises
        TypeSerializer().serialize(value)
    with pytest.raises(theirs.type):
        encode(value)
