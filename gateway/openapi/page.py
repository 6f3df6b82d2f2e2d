"""The description as one HTML page that loads nothing: no script, no font, one style named by its hash."""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from gateway.openapi.markup import code, elements, kind, members, prose, table, text
from gateway.openapi.models import Json

_STYLE: Final = Path(__file__).with_name("page.css").read_text()
_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(document: Json) -> bytes:
    """Render a document of `gateway.openapi.document`."""
    info, components = members(document["info"]), members(document["components"])
    groups = [(members(tag), list(_of_tag(document, members(tag)["name"]))) for tag in elements(document["tags"])]
    body = (
        f'<div class="frame"><nav aria-label="Contents">{_contents(groups)}</nav><main>'
        f"<h1>{text(info['title'])}</h1>"
        f'<p class="lead">{text(info["summary"])}</p><p>{prose(info["description"])}</p>'
        '<p>For programs: <a href="/v1/openapi.json">/v1/openapi.json</a>.</p>'
        f"{_every_request(components)}{''.join(_group(tag, operations, components) for tag, operations in groups)}"
        f"{_models(components)}</main></div>"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(info['title'])} API</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    ).encode()


def _of_tag(document: Json, tag: JsonValue) -> Iterator[tuple[str, str, Json]]:
    for path, methods in members(document["paths"]).items():
        for method, operation in members(methods).items():
            if tag in elements(members(operation)["tags"]):
                yield method, path, members(operation)


def _contents(groups: list[tuple[Json, list[tuple[str, str, Json]]]]) -> str:
    shown = ""
    for tag, operations in groups:
        links = (
            f'<li><a href="#{text(operation["operationId"])}">{text(operation["summary"])}</a></li>'
            for _, _, operation in operations
        )
        shown += f"<h2>{text(tag['name'])}</h2><ul>{''.join(links)}</ul>"
    return shown + '<h2>More</h2><ul><li><a href="#models">Models</a></li></ul>'


def _every_request(components: Json) -> str:
    rows = [
        (f"<code>{text(name)}</code>", prose(members(scheme)["description"]))
        for name, scheme in members(components["securitySchemes"]).items()
    ]
    every = [members(parameter) for parameter in members(components["parameters"]).values()]
    return (
        f"<h2>Every request</h2><h3>Who is calling</h3>{table(('scheme', 'what it is'), rows)}"
        f"<h3>Headers</h3>{_parameters(every)}"
    )


def _group(tag: Json, operations: list[tuple[str, str, Json]], components: Json) -> str:
    inside = "".join(_operation(method, path, operation, components) for method, path, operation in operations)
    return f'<section><h2>{text(tag["name"])}</h2><p class="soft">{prose(tag["description"])}</p>{inside}</section>'


def _operation(method: str, path: str, operation: Json, components: Json) -> str:
    needs = [text(role) for role in elements(operation["x-required-roles"])]
    if not needs:
        needs = ["no token" if operation["security"] == [{}] else "any token"]
    badges = "".join(f'<span class="role">{need}</span>' for need in needs)
    own = [members(parameter) for parameter in elements(operation["parameters"]) if "$ref" not in members(parameter)]
    body = members(members(operation.get("requestBody")).get("content"))
    answers = (
        _answer(status, _resolved(answer, components), components)
        for status, answer in members(operation["responses"]).items()
    )
    return (
        f'<article id="{text(operation["operationId"])}"><h3>{text(operation["summary"])}</h3>'
        f'<div class="way"><span class="verb {method}">{method.upper()}</span><span>{text(path)}</span>{badges}</div>'
        f"<p>{prose(operation['description'])}</p>"
        f"{'<h4>Takes</h4>' if own or body else ''}{_parameters(own)}{_bodies(body, components)}"
        f"<h4>Answers</h4>{''.join(answers)}"
        "</article>"
    )


def _parameters(parameters: list[Json]) -> str:
    return table(("name", "in", "what"), [_parameter(parameter) for parameter in parameters])


def _parameter(parameter: Json) -> tuple[str, ...]:
    needed = " (required)" if parameter["required"] else ""
    shape = f'<br><span class="soft">{kind(members(parameter["schema"]))}</span>'
    return (
        f"<code>{text(parameter['name'])}</code>",
        text(parameter["in"]) + needed,
        prose(parameter["description"]) + shape,
    )


def _answer(status: str, answer: Json, components: Json) -> str:
    headers = ", ".join(f"<code>{text(name)}</code>" for name in members(answer["headers"]))
    look = {"2": "good", "3": "good", "4": "meek"}.get(status[0], "bad")
    return (
        f'<details><summary><span class="status {look}">{text(status)}</span>{prose(answer["description"])}</summary>'
        f'<p class="soft">Headers: {headers}</p>{_bodies(members(answer.get("content")), components)}</details>'
    )


def _bodies(contents: Json, components: Json) -> str:
    return "".join(_body(media_type, members(content), components) for media_type, content in contents.items())


def _body(media_type: str, content: Json, components: Json) -> str:
    schema = members(content["schema"])
    shown = "".join(code(_resolved(example, components)["value"]) for example in members(content["examples"]).values())
    return f"<p><code>{text(media_type)}</code> {kind(schema)}<br>{prose(schema.get('description'))}</p>{shown}"


def _resolved(part: JsonValue, components: Json) -> Json:
    """Follow a reference into the components."""
    reference = members(part).get("$ref")
    if not isinstance(reference, str):
        return members(part)
    group, name = reference.split("/")[-2:]
    return members(members(components[group])[name])


def _models(components: Json) -> str:
    shown = '<section id="models"><h2>Models</h2>'
    for name, value in members(components["schemas"]).items():
        model = members(value)
        required = elements(model.get("required"))
        rows = [
            (
                f"<code>{text(field)}</code>",
                "required" if field in required else "",
                f"{prose(members(schema).get('description'))} <span class='soft'>{kind(members(schema))}</span>",
            )
            for field, schema in members(model.get("properties")).items()
        ]
        plain = "" if rows else f"<p>{kind(model)}</p>"
        shown += (
            f'<article id="model-{text(name)}"><h3>{text(name)}</h3><p>{prose(model.get("description"))}</p>'
            f"{plain}{table(('field', '', 'what'), rows)}</article>"
        )
    return shown + "</section>"
