"""`lockgate completion`: what makes a shell complete nouns, verbs and options."""

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script


class Shell(StrEnum):
    """The shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell to complete in.")]) -> None:
    """Print the script that completes `lockgate` in a shell; see docs/CLI.md for where it goes.

    Example: lockgate completion bash
    """
    typer.echo(get_completion_script(prog_name="lockgate", complete_var="_LOCKGATE_COMPLETE", shell=shell.value))
