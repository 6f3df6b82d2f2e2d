"""Holds an agent's input to the JSON Schema its version declares, compiled once.

Nothing is fetched: a reference out of the schema is refused. Patterns run in linear time, and what could keep a
processor busy for longer than a moment is refused before it does. What is said of a fault
names the schema's words, never the input's.
"""

from collections.abc import Sequence
from typing import Final

import jsonschema_rs
import orjson

from gateway.errors import FieldFault, FieldsInvalidError
from gateway.interceptors.errors import SchemaRefusedError
from gateway.interceptors.schema_cost import SchemaCost

FAULTS_MAX: Final = 20
_SENTENCES: Final = {
    "type": "is of another type than the agent takes",
    "enum": "is none of the values the agent takes",
    "const": "is not the value the agent takes",
    "additionalProperties": "has members the agent does not take",
    "unevaluatedProperties": "has members the agent does not take",
    "required": "is required",
}


class InputSchema:
    """An agent version's schema; raises SchemaRefusedError where it is none that can be used."""

    def __init__(self, schema_json: str) -> None:
        try:
            schema = orjson.loads(schema_json)
            self._validator = jsonschema_rs.validator_for(
                schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
            )
            self._cost = SchemaCost(schema)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise SchemaRefusedError from error

    def check(self, input_json: bytes) -> None:
        """Let an input pass; raises FieldsInvalidError with a JSON pointer for each fault, 20 at most."""
        value = orjson.loads(input_json)
        if self._cost.too_much(len(input_json), value):
            raise FieldsInvalidError([FieldFault("/input", "is too large or nested too deep for the agent's schema")])
        if self._validator.is_valid(value):
            return
        faults = []
        for error in self._validator.iter_errors(value):
            faults.append(_fault(error))
            if len(faults) == FAULTS_MAX:
                break
        raise FieldsInvalidError(faults)


def _fault(error: jsonschema_rs.ValidationError) -> FieldFault:
    path: list[str | int] = list(error.instance_path)
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        path.append(error.kind.property)
    keyword = error.kind.name
    return FieldFault(_pointer(path), _SENTENCES.get(keyword, f"does not satisfy the schema's {keyword}"))


def _pointer(path: Sequence[str | int]) -> str:
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(f"/{step}" for step in ("input", *escaped))
