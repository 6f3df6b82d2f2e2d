"""JSON values as DynamoDB's attribute values and back.

Texts, whole numbers, truths, lists and objects, nearly all that stored items hold, are written directly; whatever
else is left to boto3. The result is boto3's own in every case, in a fraction of its time.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

_BOTO3_ENCODE: Final = TypeSerializer().serialize
_BOTO3_DECODE: Final = TypeDeserializer().deserialize
# DynamoDB keeps 38 digits; boto3 refuses more.
_TOO_LARGE: Final = 10**38


def encode(value: object) -> "AttributeValueTypeDef":
    """Return a value as DynamoDB keeps it; raises TypeError for what it cannot keep, floats among them."""
    if type(value) is str:
        return {"S": value}
    if type(value) is bool:
        return {"BOOL": value}
    if type(value) is int and -_TOO_LARGE < value < _TOO_LARGE:
        return {"N": str(value)}
    if type(value) is list:
        return {"L": [encode(each) for each in value]}
    if type(value) is dict:
        return {"M": {name: encode(each) for name, each in value.items()}}
    encoded: AttributeValueTypeDef = _BOTO3_ENCODE(value)
    return encoded


def encode_field(value: object) -> "AttributeValueTypeDef":
    """Return a model's field as its JSON is kept; raises TypeError for what DynamoDB cannot keep."""
    if type(value) is str:
        return {"S": value}
    if isinstance(value, StrEnum):
        return {"S": str.__str__(value)}
    if type(value) is datetime and value.tzinfo is UTC:
        return {"S": value.isoformat().removesuffix("+00:00") + "Z"}
    if type(value) is int:
        return encode(value)
    if isinstance(value, frozenset):
        # Equal sets are kept as equal lists; a set's own order is any.
        return encode(sorted(to_jsonable_python(value)))
    return encode(to_jsonable_python(value, exclude_none=True))


def decode(value: "AttributeValueTypeDef") -> object:
    """Return what an attribute value says; numbers are Decimals."""
    return _BOTO3_DECODE(value)
