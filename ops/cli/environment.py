"""Settings as a command reads them: what is wrong with one is said by the variable's name."""

from typing import TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from ops.cli.errors import ExitCode, complain

S = TypeVar("S", bound=BaseSettings)


def settings_of(kind: type[S]) -> S:
    """Read settings from the environment; a value that is not possible is wrong usage."""
    try:
        return kind()
    except ValidationError as error:
        for fault in error.errors():
            complain(f"{_variable(kind, str(fault['loc'][0]))}: {fault['msg']}")
        raise typer.Exit(ExitCode.USAGE) from error


def _variable(kind: type[BaseSettings], place: str) -> str:
    prefix = kind.model_config.get("env_prefix", "")
    return f"{prefix}{place}".upper() if place in kind.model_fields else place
