"""The whole OpenAPI 3.1 document."""

from collections.abc import Iterable
from typing import Final

import orjson
from pydantic import BaseModel, JsonValue

from gateway.openapi.headers import EVERY_REQUEST, HEADERS, TENANT, carried, taken
from gateway.openapi.models import Json, Models, json_of
from gateway.openapi.refusals import Refusals
from gateway.openapi.sharing import Shared
from gateway.operations import TAGS, Answer, Content, Operation, Parameter
from gateway.problem_schemas import ProblemView
from tenancy.context import Role

# What refuses begins here.
_REFUSED: Final = "400"
PARAMETER_REF: Final = "#/components/parameters/"
_INFO: Final[Json] = {
    "title": "Lockgate",
    "version": "1.0.0",
    "summary": "Self-service Agent-as-a-Service: tenants invoke isolated AI agents over HTTP.",
    "description": "JSON is in camelCase, times are RFC 3339 in UTC, money is in millionths of a US dollar. Every "
    "refusal is a problem document (RFC 9457) with a stable `code`. What belongs to another tenant answers exactly "
    "like what does not exist.",
    "contact": {"name": "The operator of this deployment"},
}
_SERVERS: Final[list[JsonValue]] = [
    {
        "url": "{origin}",
        "description": "Where this deployment is reached, be it production or local.",
        "variables": {"origin": {"default": "http://127.0.0.1:8080", "description": "The local stack's, by default."}},
        "x-internal": False,
    }
]
_PLATFORM: Final = (Role.PLATFORM_OPERATOR, Role.PLATFORM_ADMIN)
_RULES: Final = (
    "RS256, at most 24 hours, read by the rules of RFC8725. Its directory and application are bound on the server's "
    "side; the roles an operation needs are listed with it."
)
_TOOL_TOKEN: Final[Json] = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The tool token that Lockgate hands an agent with an invocation: ES256, five minutes, good while "
    "the invocation lives, read by the rules of RFC8725.",
}
_SCHEMES: Final[Json] = {
    name: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": f"{whose} {_RULES}"}
    for name, whose in {
        "token": "A Lockgate API key (`lg_live_…`), or an access token of the configured Entra ID authority:",
        "developerToken": "The same, with the role of developers, or one of an operator:",
        "operatorToken": "A token of an application bound to the platform itself, with a role of the platform's:",
    }.items()
}


def document(operations: Iterable[Operation]) -> Json:
    """Describe the operations."""
    models, refusals, shared, paths = Models(), Refusals(), Shared(), dict[str, Json]()
    models.refer(ProblemView, "serialization")
    for operation in operations:
        shown, answers = _operation(operation, models), _answers(operation, models, refusals)
        shown["responses"] = {
            status: answer if status < _REFUSED else shared.refer(status, answer) for status, answer in answers.items()
        }
        paths.setdefault(operation.path, {})[operation.method.lower()] = shown
    used = {tag for path in paths.values() for shown in path.values() for tag in _tags(shown)}
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": _SERVERS,
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if name in used],
        "security": [{"token": []}],
        "paths": dict(paths),
        "components": {
            "schemas": models.schemas,
            "parameters": {parameter.name: _parameter(parameter) for parameter in (*EVERY_REQUEST, TENANT)},
            "responses": shared.responses,
            "headers": dict(HEADERS),
            "examples": refusals.examples,
            "securitySchemes": {**_SCHEMES, "toolToken": _TOOL_TOKEN},
        },
    }


def written(described: Json) -> bytes:
    """Return the document as it is served and committed: readable, the same bytes every time."""
    return orjson.dumps(described, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _operation(operation: Operation, models: Models) -> Json:
    roles: list[JsonValue] = [] if operation.role is None else [operation.role.value]
    shown: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": _security(operation),
        "x-required-roles": roles,
        "parameters": [
            *map(_parameter, operation.parameters),
            *(_refer(PARAMETER_REF + parameter.name) for parameter in taken(operation)),
        ],
    }
    if operation.body is not None:
        content = _contents((operation.body,), models, read=True)
        shown["requestBody"] = {"required": not operation.body_optional, "content": content}
    return shown


def _answers(operation: Operation, models: Models, refusals: Refusals) -> dict[str, Json]:
    answers = {str(answer.status): _answer(operation, answer, models) for answer in operation.answers}
    found = answers | refusals.of(operation)
    for answer in operation.also:
        found[str(answer.status)] = _beside(found.get(str(answer.status)), _answer(operation, answer, models))
    return dict(sorted(found.items()))


def _beside(refusal: Json | None, answer: Json) -> Json:
    """Describe an answer that has the status of problem documents too, where there are any."""
    if refusal is None:
        return answer
    return refusal | {part: _merged(refusal.get(part), answer.get(part)) for part in ("headers", "content")}


def _merged(one: JsonValue, other: JsonValue) -> Json:
    return {**(one if isinstance(one, dict) else {}), **(other if isinstance(other, dict) else {})}


def _refer(target: str) -> Json:
    return {"$ref": target}


def _security(operation: Operation) -> list[JsonValue]:
    match operation.guard:
        case "public":
            return [{}]
        case "agent":
            return [{"toolToken": []}]
        case "tools":
            return [{"token": []}, {"toolToken": []}]
        case _ if operation.role is Role.AGENT_DEVELOPER:
            return [{"developerToken": []}]
        case _:
            return [{"operatorToken" if operation.role in _PLATFORM else "token": []}]


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required or parameter.place == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
        "example": parameter.example,
    }


def _answer(operation: Operation, answer: Answer, models: Models) -> Json:
    shown: Json = {
        "description": answer.description,
        "headers": carried(operation, answer.status, answer.headers),
    }
    return shown | ({"content": _contents(answer.contents, models, read=False)} if answer.contents else {})


def _contents(contents: tuple[Content, ...], models: Models, *, read: bool) -> Json:
    return {content.media_type: _content(content, models, read=read) for content in contents}


def _content(content: Content, models: Models, *, read: bool) -> Json:
    examples: Json = {name: {"value": json_of(example)} for name, example in content.examples.items()}
    return {"schema": _schema(content, models, read=read), "examples": examples}


def _schema(content: Content, models: Models, *, read: bool) -> Json:
    if content.schema is not None:
        return dict(content.schema)
    (model,) = {type(example) for example in content.examples.values() if isinstance(example, BaseModel)}
    return models.refer(model, "validation" if read else "serialization")


def _tags(shown: JsonValue) -> list[JsonValue]:
    match shown:
        case {"tags": [*tags]}:
            return tags
        case _:
            return []
