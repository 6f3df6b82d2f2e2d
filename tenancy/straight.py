"""Requests to DynamoDB written straight: its JSON is what the call's parameters already are.

Botocore walks every parameter along the service's model twice, to validate and to copy it, and comes out with what went
in; at 25 items a batch that costs more than all else together. Bytes alone would change on the way: no item holds any,
and one that did would be refused here.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson
from botocore.model import OperationModel
from botocore.serialize import JSONSerializer

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient


class StraightSerializer(JSONSerializer):
    """Takes the place of botocore's serializer and of its validation."""

    def serialize_to_request(self, parameters: Mapping[str, Any], operation_model: OperationModel) -> dict[str, Any]:
        """Return the request of a call; raises TypeError for what JSON cannot say."""
        request = super().serialize_to_request({}, operation_model)
        request["body"] = orjson.dumps(parameters)
        return request


def install(client: "DynamoDBClient") -> None:
    """Write this client's requests straight."""
    # There is no public way to give a client its serializer; a test sees that it is the one used.
    vars(client)["_serializer"] = StraightSerializer()
