"""Requests to DynamoDB written straight: its JSON is what the call's parameters already are.

Botocore walks every parameter along the service's model twice, to validate and to copy it, and comes out with what went
in; at 25 items a batch that costs more than all else together. Bytes alone would change on the way: no item holds any,
and one that did would be refused here.

A batch of puts, which a gateway sends all day, skips the rest of botocore's way as well: rules for the address, a
signature by hand, parsing by a model. It can be repeated without harm, so whatever is not a plain yes is simply asked
again on botocore's own way, with its retries and its errors. Whoever listens to what a client is about to send, the
guard above all, hears of it on either way, before anything leaves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import urlsplit
from zlib import crc32

import orjson
from botocore.model import OperationModel
from botocore.serialize import JSONSerializer

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

_BATCH: Final = "BatchWriteItem"
_HEADERS: Final = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{_BATCH}"}
_OK: Final = 200


class StraightSerializer(JSONSerializer):
    """Takes the place of botocore's serializer and of its validation."""

    def serialize_to_request(self, parameters: Mapping[str, Any], operation_model: OperationModel) -> dict[str, Any]:
        """Return the request of a call; raises TypeError for what JSON cannot say."""
        request = super().serialize_to_request({}, operation_model)
        request["body"] = orjson.dumps(parameters)
        return request


class Sign(Protocol):
    """Proves who posts to the root of the store's address."""

    async def __call__(self, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """Return the headers to add to `headers`, `Host` among these."""
        ...


class Post(Protocol):
    """Posts to the root of the store's address, once."""

    async def __call__(self, headers: Mapping[str, str], body: bytes) -> "Answered | None":
        """Return what it was answered; None where there was no whole answer."""
        ...


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer; `checksum` is the CRC32 it says it has."""

    status: int
    checksum: str | None
    body: bytes


class _Inner(Protocol):
    """What a client's calls are made of."""

    async def _make_api_call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]: ...

    async def _emit_api_params(
        self, parameters: dict[str, Any], model: OperationModel, context: dict[str, Any]
    ) -> dict[str, Any]: ...


class StraightCalls:
    """Takes the place of a client's calls: batches go straight, all else as ever."""

    def __init__(self, client: "DynamoDBClient", post: Post, sign: Sign) -> None:
        inner = cast("_Inner", client)
        self._call = inner._make_api_call  # noqa: SLF001 - botocore has no public way into the middle of a call
        self._announce = inner._emit_api_params  # noqa: SLF001 - as above
        self._post = post
        self._sign = sign
        self._headers = _HEADERS | {"Host": urlsplit(client.meta.endpoint_url).netloc}
        self._model = client.meta.service_model.operation_model(_BATCH)

    async def __call__(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Make a call."""
        if operation == _BATCH:
            announced = await self._announce(parameters, self._model, {})
            body = orjson.dumps(announced)
            headers = {**self._headers, **await self._sign(self._headers, body)}
            answer = _understood(await self._post(headers, body))
            if answer is not None:
                return answer
        return await self._call(operation, parameters)


def _understood(answered: Answered | None) -> dict[str, Any] | None:
    """Return what a batch was answered; None for all but a plain yes."""
    if answered is None or answered.status != _OK:
        return None
    if answered.checksum is not None and answered.checksum != str(crc32(answered.body)):
        return None
    try:
        answer = orjson.loads(answered.body)
    except orjson.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) and "UnprocessedItems" in answer else None


def install(client: "DynamoDBClient", post: Post | None = None, sign: Sign | None = None) -> None:
    """Write this client's requests straight, and send its batches so where it is told how."""
    # There is no public way to give a client its serializer or its calls; a test sees that these are the ones used.
    own = vars(client)
    own["_serializer"] = StraightSerializer()
    if post is not None and sign is not None:
        own["_make_api_call"] = StraightCalls(client, post, sign)
