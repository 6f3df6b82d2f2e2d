"""Small pieces of HTML, and ways through a document of JSON. Whatever was text is escaped here, once."""

import re
from collections.abc import Sequence
from html import escape

import orjson
from pydantic import JsonValue

from gateway.openapi.models import Json


def members(value: JsonValue) -> Json:
    """Return an object's members; none where it is no object."""
    return value if isinstance(value, dict) else {}


def elements(value: JsonValue) -> list[JsonValue]:
    """Return an array's elements; none where it is no array."""
    return value if isinstance(value, list) else []


def text(value: JsonValue) -> str:
    """Return a text as HTML; none where it is no text."""
    return escape(value) if isinstance(value, str) else ""


def prose(value: JsonValue) -> str:
    """Return a text as HTML with what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(value))


def code(value: JsonValue) -> str:
    """Return an example as HTML: text as it is, anything else as indented JSON."""
    shown = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return f'<pre tabindex="0"><code>{escape(shown)}</code></pre>'


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table of cells that are HTML already; nothing where there are no rows."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def kind(schema: Json) -> str:
    """Say in a few words what a schema takes, with links to the models."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = escape(reference.rsplit("/", 1)[-1])
        return f'<a href="#model-{name}">{name}</a>'
    choices = elements(schema.get("anyOf"))
    if choices:
        return " or ".join(kind(members(choice)) for choice in choices)
    words = [
        text(schema.get("type")) or "any JSON",
        *(f"of {kind(members(schema[name]))}" for name in ("items",) if name in schema),
        *(f"<code>{text(value)}</code>" for value in elements(schema.get("enum"))),
        *(text(schema[name]) for name in ("format",) if name in schema),
        *(f"<code>{text(schema[name])}</code>" for name in ("pattern",) if name in schema),
        *(f"{sign} {schema[name]}" for name, sign in _BOUNDS.items() if name in schema),
    ]
    return " ".join(words)


_BOUNDS = {"minimum": "≥", "maximum": "≤", "maxLength": "length ≤", "maxItems": "items ≤"}
