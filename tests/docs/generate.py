"""The papers' generated parts. `make docs` writes them; the checks compare."""

import sys
from pathlib import Path

import orjson
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from gateway.app import operations
from gateway.openapi.document import document, written
from ops.settings import Settings
from tests.architecture.tree import ROOT

HEAD = """\
# Every setting of a deployment, with its default. Written by `make docs` from ops/settings.py.
# AWS credentials and regions follow the SDK's own variables.
"""


def variable(name: str, field: FieldInfo) -> str:
    """Return the environment variable a setting is read from."""
    if isinstance(field.validation_alias, AliasChoices):
        return str(field.validation_alias.choices[0])
    return f"{Settings.model_config['env_prefix']}{name}".upper()


def shown(value: object) -> str:
    """Return a default as it is written in the environment."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case frozenset() | tuple() | list():
            return orjson.dumps(sorted(value)).decode()
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def env_example() -> str:
    """Return the text of .env.example."""
    entries = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        line = f"{variable(name, field)}={'' if default is None else shown(default)}"
        entries.append(f"# {field.description}\n{'# ' if default is None else ''}{line}\n")
    return HEAD + "\n" + "\n".join(entries)


def openapi_json() -> str:
    """Return the text of docs/openapi.json."""
    return written(document(operations())).decode()


GENERATED = {".env.example": env_example, "docs/openapi.json": openapi_json}


def write(root: Path) -> None:
    """Write every generated paper."""
    for path, text in GENERATED.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text())
        sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    write(ROOT)
