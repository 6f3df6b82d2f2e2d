"""The wire models as JSON Schemas under `#/components/schemas`.

A view that leaves out what is None never shows a null there, so neither does its schema. Names lose the word "View":
callers see one side only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson
from pydantic import BaseModel, JsonValue
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from gateway.schemas import EXACT_MAX
from tenancy.data_models import Failure, Progress

Json: TypeAlias = dict[str, JsonValue]
PREFIX: Final = "#/components/schemas/"
# Pydantic's name for what may be anything: no model of ours.
_ANY_JSON: Final = "JsonValue"

_EXACT: Final[Json] = {"format": "int64", "minimum": -EXACT_MAX, "maximum": EXACT_MAX}

# What models of lower floors do not say about themselves because it is their writers' care.
_REFINED: Final[Mapping[str, Mapping[str, Json]]] = {
    Failure.__name__: {
        "code": {"pattern": "^[a-z]+(?:_[a-z]+)*$", "maxLength": 64, "examples": ["agent_error"]},
        "detail": {"format": "text", "maxLength": 1024},
    },
    Progress.__name__: {"percent": {"format": "int32"}, "message": {"format": "text"}},
}


class Models:
    """Collects models; each is described once, as it is read or as it is answered."""

    def __init__(self) -> None:
        self._schemas: Json = {}

    @property
    def schemas(self) -> Json:
        """Every schema collected so far, by name."""
        return dict(sorted(self._schemas.items()))

    def refer(self, model: type[BaseModel], mode: JsonSchemaMode) -> Json:
        """Add a model with all it consists of; return the reference to it."""
        schema = model.model_json_schema(by_alias=True, mode=mode, ref_template="{model}", schema_generator=_Generator)
        parts: dict[str, Json] = {**schema.pop("$defs", {}), model.__name__: schema}
        parts.pop(_ANY_JSON, None)
        names = {name: _shown(name, part, mode) for name, part in parts.items()}
        for name, part in parts.items():
            tidied = _Tidy(names, leaves_out_null=mode == "serialization").whole(
                names[name], part, _REFINED.get(name, {})
            )
            if self._schemas.setdefault(names[name], tidied) != tidied:
                raise ValueError(f"two different models would be called {names[name]}")
        return {"$ref": PREFIX + names[model.__name__]}


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        """Leave out titles, which only repeat the name."""
        del schema
        return False


def json_of(value: BaseModel | JsonValue) -> JsonValue:
    """Return an example as it goes over the wire: what is None is left out where the model leaves it out."""
    if not isinstance(value, BaseModel):
        return value
    to_json = getattr(value, "to_json", None)
    loaded: JsonValue = orjson.loads(to_json() if callable(to_json) else value.model_dump_json(by_alias=True))
    return loaded


def _shown(name: str, schema: Json, mode: JsonSchemaMode) -> str:
    paged = re.fullmatch(r"PageView[\[_](\w+?)(?:View)?[\]_]", name)
    if paged:
        return f"{paged[1]}Page"
    read = mode == "validation" and "properties" in schema and not name.endswith("Request")
    return name.removesuffix("View") + ("Input" if read else "")


@dataclass(frozen=True, slots=True)
class _Tidy:
    """Takes out of pydantic's schemas what only repeats, and says what it leaves open."""

    names: Mapping[str, str]
    leaves_out_null: bool

    def whole(self, name: str, schema: Json, refined: Mapping[str, Json]) -> Json:
        """Tidy the schema of one model or enumeration."""
        tidied = self.part(schema) | {"title": name}
        description = tidied.get("description")
        if isinstance(description, str):
            tidied["description"] = " ".join(description.split("\n\n")[0].split())
        properties = tidied.get("properties")
        if isinstance(properties, dict):
            tidied["properties"] = {key: _merged(value, refined.get(key, {})) for key, value in properties.items()}
        return tidied

    def part(self, schema: Json) -> Json:
        """Tidy any schema inside."""
        if schema.get("$ref") == _ANY_JSON:
            return {key: value for key, value in schema.items() if key not in {"$ref", "default"}}
        tidied: Json = {key: self._keyword(key, value) for key, value in schema.items()}
        if tidied.get("type") == "integer":
            tidied = _EXACT | tidied
        if "default" in tidied and tidied["default"] is None:
            # "Left out" is not "null", whatever stands for it in Python.
            del tidied["default"]
            tidied = _never_null(tidied) if self.leaves_out_null else tidied
        return tidied

    def _keyword(self, key: str, value: JsonValue) -> JsonValue:
        match key, value:
            case "$ref", str(name):
                return PREFIX + self.names[name]
            case ("properties", dict(named)):
                return {name: self.part(schema) for name, schema in named.items() if isinstance(schema, dict)}
            case (("anyOf" | "allOf" | "oneOf" | "prefixItems"), list(several)):
                return [self.part(schema) for schema in several if isinstance(schema, dict)]
            case (("items" | "additionalProperties"), dict(inner)):
                return self.part(inner)
            case _:
                return value


def _merged(schema: JsonValue, refined: Json) -> JsonValue:
    return schema | refined if isinstance(schema, dict) else schema


def _never_null(schema: Json) -> Json:
    """Return the schema of a field that is left out where it is None."""
    kept: Json = {key: value for key, value in schema.items() if key != "anyOf"}
    match schema.get("anyOf"):
        case [dict(only), {"type": "null"}]:
            return kept | only
        case [*several]:
            return kept | {"anyOf": [choice for choice in several if choice != {"type": "null"}]}
        case _:
            return kept
