"""Whether a call's arguments are what its tool takes, by its own JSON Schema, before anything reaches the tool."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import jsonschema_rs
import orjson

from gateway.interceptors.schema_cost import SchemaCost
from gateway.tools.errors import RpcParamsError
from gateway.tools.messages import Json

_SCHEMAS: Final = 1024


def check(schema_json: str, arguments: Mapping[str, Json]) -> None:
    """Raise RpcParamsError with the place of the first fault; what stands there is not repeated."""
    validator, cost = _validator(schema_json)
    value = dict(arguments)
    if cost.too_much(len(orjson.dumps(value)), value):
        raise RpcParamsError("arguments: too large or nested too deep for the tool's schema")
    for fault in validator.iter_errors(value):
        place = "".join(f"/{step}" for step in fault.instance_path)
        keyword = fault.schema_path[-1] if fault.schema_path else "schema"
        raise RpcParamsError(f"arguments{place}: fails {keyword}")


@lru_cache(maxsize=_SCHEMAS)
def _validator(schema_json: str) -> tuple[jsonschema_rs.Draft202012Validator, SchemaCost]:
    schema = orjson.loads(schema_json)
    validator = jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=jsonschema_rs.RegexOptions())
    return validator, SchemaCost(schema)
