"""Schemas that would keep a processor busy are told by what they are, and plain ones never."""

import orjson
import pytest

from gateway.errors import FieldsInvalidError
from gateway.interceptors.errors import SchemaRefusedError
from gateway.interceptors.input_schema import InputSchema
from gateway.interceptors.schema_cost import Json, SchemaCost

LEVELS = 9
BRANCHING = {
    "$defs": {f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 8} for level in range(LEVELS)}
    | {f"d{LEVELS}": {"type": "string"}},
    "$ref": "#/$defs/d0",
}
ENDLESS = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}
CHAIN = {"$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(5000)}, "$ref": "#/$defs/d0"}
TREE: Json = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
# Each level is judged twice as often as the one above it.
DOUBLING: Json = {"anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}


def nested(name: str, levels: int) -> Json:
    value: Json = {}
    for _ in range(levels):
        value = {name: value}
    return value


@pytest.mark.parametrize(
    "schema",
    [
        BRANCHING,
        ENDLESS,
        CHAIN,
        {"$ref": "#/$defs/none"},
        {"$ref": "#none"},
        {"$ref": "other.json#"},
        {"items": {"$id": "https://example.com/inner", "$ref": "#"}},
    ],
)
def test_what_branches_ends_nowhere_or_points_elsewhere_is_refused(schema: Json) -> None:
    with pytest.raises(SchemaRefusedError):
        SchemaCost(schema)


def test_branching_is_refused_as_an_agents_schema_too() -> None:
    with pytest.raises(SchemaRefusedError):
        InputSchema(orjson.dumps(BRANCHING).decode())


def test_a_tree_is_judged_once_a_place_however_deep() -> None:
    assert SchemaCost(TREE).at_one_place(1) == SchemaCost(TREE).at_one_place(1000)
    InputSchema(orjson.dumps(TREE).decode()).check(orjson.dumps(nested("left", 200)))


def test_what_doubles_with_every_level_is_judged_only_so_deep() -> None:
    schema = InputSchema(orjson.dumps(DOUBLING).decode())
    schema.check(orjson.dumps(nested("a", 10)))
    with pytest.raises(FieldsInvalidError) as refused:
        schema.check(orjson.dumps(nested("a", 40)))
    assert [fault.pointer for fault in refused.value.faults] == ["/input"]


def test_long_text_and_long_lists_pass_plain_schemas() -> None:
    plain = {"properties": {f"p{n}": {"type": "string"} for n in range(200)}}
    InputSchema(orjson.dumps(plain).decode()).check(orjson.dumps({"p1": "x" * 1_000_000}))
    InputSchema('{"items":{"type":"integer","minimum":0}}').check(orjson.dumps([1] * 500_000))


def test_members_of_any_name_and_references_by_name_count() -> None:
    named = SchemaCost(
        {"$defs": {"a": {"$anchor": "here", "type": "string"}}, "additionalProperties": {"$ref": "#here"}}
    )
    assert (named.at_one_place(0), named.at_one_place(1)) == (2, 2)
    both: Json = {"properties": {"a": True}, "patternProperties": {"^a": True, "a$": True}, "items": True}
    assert SchemaCost(both).at_one_place(0) == 5
    rows = SchemaCost(
        {"$id": "https://example.com/s", "prefixItems": [{"$ref": "https://example.com/s#"}], "items": True}
    )
    assert rows.at_one_place(5) >= rows.at_one_place(0)
