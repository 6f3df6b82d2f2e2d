"""Reading small JSON bodies into wire models that name all of their members themselves.

Since no member is named by the caller, a fault names its field by the whole path and still quotes nothing.
"""

from typing import Annotated, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import BeforeValidator, StringConstraints, ValidationError
from pydantic.config import JsonDict

from gateway.bodies import read_json
from gateway.errors import BodyMalformedError, FieldFault, FieldsInvalidError
from gateway.schemas import WireModel

BODY_LIMIT_BYTES: Final = 65_536
# Controls, line breaks, and what turns the direction of a text or does not show at all.
_UNSEEN: Final = r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
# What people write, on one line: nothing in it breaks a log or a terminal, or reads as something else.
LINE_PATTERN: Final = rf"^[^{_UNSEEN}]*[^\s{_UNSEEN}][^{_UNSEEN}]*$"
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=LINE_PATTERN)]

M = TypeVar("M", bound=WireModel)
T = TypeVar("T")


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Takes 20.0 for 20, as JSON does.
INTEGRAL: Final = BeforeValidator(_integral)


def never_null(schema: JsonDict) -> None:
    """Describe a field that may be left out and, whatever stands for that in Python, may not be null.

    SkipJsonSchema would say the same, and have every fault in the field told twice, once for each choice.
    """
    match schema.pop("anyOf", None):
        case [dict(only), {"type": "null"}]:
            schema.update(only)
        case other:
            raise TypeError(f"not a field that may be left out: {other}")


def said(value: T) -> T:
    """Refuse null for a field that may only be left out."""
    if value is None:
        raise ValueError("must not be null")
    return value


async def read_body(model: type[M], request: web.Request, *, optional: bool = False) -> M:
    """Read a request's body; `optional` takes none at all for an empty object.

    Raises what `read_json` raises, and FieldsInvalidError.
    """
    if optional and not request.body_exists:
        return read(model, {})
    return parse(model, await read_json(request, BODY_LIMIT_BYTES))


def parse(model: type[M], body: bytes) -> M:
    """Read a JSON body; raises BodyMalformedError, FieldsInvalidError."""
    try:
        loaded = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BodyMalformedError from None
    return read(model, loaded)


def read(model: type[M], loaded: object) -> M:
    """Validate parsed values; raises FieldsInvalidError."""
    if not isinstance(loaded, dict):
        raise FieldsInvalidError([FieldFault("", "must be a JSON object")])
    try:
        return model.model_validate(loaded, by_alias=True, by_name=False)
    except ValidationError as refused:
        raise FieldsInvalidError(
            _fault(error["type"], error["loc"], error["msg"]) for error in refused.errors()
        ) from None


def _fault(kind: str, path: tuple[int | str, ...], message: str) -> FieldFault:
    if kind == "extra_forbidden":
        # The name of an unknown member is the caller's own text: it stays out of the answer.
        path, message = path[:-1], "has a member that is not known"
    return FieldFault("".join(f"/{step}" for step in path), message.removeprefix("Value error, "))
