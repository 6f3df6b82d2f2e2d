"""How long a verb waits for the Admin API: an option that every one of them has."""

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Annotated, Final

import typer

DEFAULT_S: Final = 30.0
patience: Final[ContextVar[float]] = ContextVar("patience", default=DEFAULT_S)

_NAME: Final = "timeout_s"
_OPTION: Final = Annotated[
    float, typer.Option("--timeout", min=0.01, help="Seconds to wait for an answer; exits with 8 after that.")
]


def patient(verb: Callable[..., object]) -> Callable[..., object]:
    """Return a verb with `--timeout`; one that has an option of that name stays as it is."""
    told = inspect.signature(verb)
    if {_NAME, "timeout"} & told.parameters.keys():
        return verb

    @wraps(verb)
    def run(*arguments: object, timeout_s: float, **options: object) -> object:
        patience.set(timeout_s)
        return verb(*arguments, **options)

    option = inspect.Parameter(_NAME, inspect.Parameter.KEYWORD_ONLY, default=DEFAULT_S, annotation=_OPTION)
    # What typer reads options from.
    vars(run)["__signature__"] = told.replace(parameters=[*told.parameters.values(), option])
    run.__annotations__ = {**verb.__annotations__, _NAME: _OPTION}
    return run
