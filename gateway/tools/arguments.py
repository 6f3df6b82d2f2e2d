"""Whether a call's arguments are what its tool takes, by its own JSON Schema, before anything reaches the tool."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import jsonschema_rs
import orjson

from gateway.tools.errors import RpcParamsError
from gateway.tools.messages import Json

_SCHEMAS: Final = 1024


def check(schema_json: str, arguments: Mapping[str, Json]) -> None:
    """Raise RpcParamsError with the place of the first fault; what stands there is not repeated."""
    for fault in _validator(schema_json).iter_errors(dict(arguments)):
        place = "".join(f"/{step}" for step in fault.instance_path)
        keyword = fault.schema_path[-1] if fault.schema_path else "schema"
        raise RpcParamsError(f"arguments{place}: fails {keyword}")


@lru_cache(maxsize=_SCHEMAS)
def _validator(schema_json: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        orjson.loads(schema_json), offline=True, pattern_options=jsonschema_rs.RegexOptions()
    )
