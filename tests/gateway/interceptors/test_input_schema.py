import orjson
import pytest

from gateway.errors import FieldsInvalidError
from gateway.interceptors.errors import SchemaRefusedError
from gateway.interceptors.input_schema import FAULTS_MAX, InputSchema

SCHEMA = InputSchema(
    '{"type":"object","required":["question"],"additionalProperties":false,"properties":'
    '{"question":{"type":"string","maxLength":8,"pattern":"^[a-z]+$"},"a/b~c":{"type":"array","items":{"type":"integer"}}}}'
)


def faults(value: object) -> list[tuple[str, str]]:
    with pytest.raises(FieldsInvalidError) as refused:
        SCHEMA.check(orjson.dumps(value))
    return [(fault.pointer, fault.message) for fault in refused.value.faults]


def test_an_input_the_agent_declares_passes() -> None:
    SCHEMA.check(b'{"question":"why","a/b~c":[1,2]}')


def test_every_fault_has_a_pointer_and_repeats_nothing_of_the_input() -> None:
    assert sorted(faults({"a/b~c": [1, "secret"], "surprise": 1})) == [
        ("/input", "has members the agent does not take"),
        ("/input/a~1b~0c/1", "is of another type than the agent takes"),
        ("/input/question", "is required"),
    ]
    assert faults({"question": "secret secret"}) == [
        ("/input/question", "does not satisfy the schema's maxLength"),
        ("/input/question", "does not satisfy the schema's pattern"),
    ]


def test_faults_are_told_up_to_a_number() -> None:
    assert len(faults({"question": "why", "a/b~c": ["x"] * 100})) == FAULTS_MAX


@pytest.mark.parametrize(
    "schema",
    ['{"type":"nonsense"}', "{", "7", '{"$ref":"https://example.com/schema.json"}', '{"pattern":"(a)\\\\1"}'],
)
def test_what_is_no_schema_or_reaches_out_is_refused(schema: str) -> None:
    with pytest.raises(SchemaRefusedError):
        InputSchema(schema)
