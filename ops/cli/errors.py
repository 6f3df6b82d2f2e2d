"""How a command fails: a sentence on stderr that says what to do, and an exit code that scripts can rely on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer

from tenancy.errors import LockgateError


class ExitCode(IntEnum):
    """What a command's exit code means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DECLINED = 3
    AUTH = 4
    NOT_FOUND = 5
    CONFLICT = 6
    UNVERIFIED = 7
    TIMED_OUT = 8
    INTERRUPTED = 130


@contextmanager
def explained(code: ExitCode = ExitCode.FAILED) -> Iterator[None]:
    """Turn an error Lockgate raised on purpose into its message on stderr and an exit code."""
    try:
        yield
    except LockgateError as error:
        complain(str(error))
        raise typer.Exit(code) from error


def complain(message: str) -> None:
    """Write a message to stderr."""
    sys.stderr.write(f"lockgate: {message}\n")
