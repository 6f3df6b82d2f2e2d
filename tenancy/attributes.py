"""JSON values as DynamoDB's attribute values and back.

Texts, whole numbers, truths, lists and objects, nearly all that stored items hold, are written directly; whatever
else is left to boto3. The result is boto3's own in every case, in a fraction of its time.
"""

from typing import TYPE_CHECKING, Final

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

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


def decode(value: "AttributeValueTypeDef") -> object:
    """Return what an attribute value says; numbers are Decimals."""
    return _BOTO3_DECODE(value)
