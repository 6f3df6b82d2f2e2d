"""The description as tests walk through it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import jsonschema_rs
import orjson

from gateway.app import operations
from gateway.openapi.document import document

# JSON as the document holds it.
Json: TypeAlias = dict[str, Any]

DOCUMENT: Json = document(operations())


@dataclass(frozen=True, slots=True)
class Example:
    """One example, where it stands, and the schema it must fit."""

    place: str
    value: object
    schema: Json

    def faults(self) -> list[str]:
        """Return where the example does not fit its schema."""
        errors = _validator(orjson.dumps(self.schema)).iter_errors(self.value)
        return [f"{self.place}: {error.message}" for error in errors]


@cache
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    whole = orjson.loads(schema) | {"components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def resolved(part: Json) -> Json:
    """Follow a reference into the components."""
    while "$ref" in part:
        _, _, kind, name = part["$ref"].split("/")
        part = DOCUMENT["components"][kind][name]
    return part


def responses(operation: Json) -> dict[str, Json]:
    """Return an operation's answers by status."""
    return {status: resolved(answer) for status, answer in operation["responses"].items()}


def described() -> Iterator[tuple[str, str, Json]]:
    """Yield (method, path, operation) of every operation."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def examples() -> Iterator[Example]:
    """Yield every example of the document: of parameters, headers, bodies and answers."""
    for method, path, operation in described():
        place = f"{method} {path}"
        for parameter in map(resolved, operation["parameters"]):
            yield Example(f"{place} {parameter['name']}", parameter["example"], parameter["schema"])
        yield from _of_contents(f"{place} takes", operation.get("requestBody", {}))
        for status, answer in responses(operation).items():
            yield from _of_contents(f"{place} {status}", answer)
            for name, header in answer["headers"].items():
                yield Example(f"{place} {status} {name}", resolved(header)["example"], resolved(header)["schema"])


def problems() -> Iterator[tuple[str, str, Json]]:
    """Yield (where, status, problem document) of every problem that is described."""
    for method, path, operation in described():
        for status, answer in responses(operation).items():
            content = answer.get("content", {}).get("application/problem+json", {})
            for example in content.get("examples", {}).values():
                yield f"{method} {path}", status, resolved(example)["value"]


def _of_contents(place: str, part: Json) -> Iterator[Example]:
    for media_type, content in part.get("content", {}).items():
        for name, example in content["examples"].items():
            yield Example(f"{place} {media_type} {name}", resolved(example)["value"], content["schema"])
