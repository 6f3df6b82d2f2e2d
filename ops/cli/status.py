"""`lockgate status`: how the platform is, figure by figure, over the Admin API."""

import typer
from pydantic import BaseModel

from ops.cli.admin_api import connected
from ops.cli.errors import ExitCode
from ops.cli.printing import Columns, Format, Output, item_text, items_text
from ops.cli.watching import Watch
from ops.cli.watching import show as again

COLUMNS: Columns = {
    "figure": "name",
    "ok": "ok",
    "value": "value",
    "of": "limit",
    "age s": "ageSeconds",
    "says": "says",
}


class _Health(BaseModel):
    ok: bool
    figures: list[dict[str, str | int | bool]]


def status(*, watch: Watch = False, output: Output = Format.TABLE) -> None:
    """Show every figure of the platform's health with its age; exits with 1 where one is not as it should be.

    Example: lockgate status
    """
    api, well = connected(), True

    def look() -> str:
        nonlocal well
        found = api.call("GET", "/health")
        health = _Health.model_validate(found)
        well = health.ok
        if output is Format.JSON:
            return item_text(found, output)
        return items_text([{**figure} for figure in health.figures], COLUMNS, output)

    again(look, watch=watch)
    if not well:
        raise typer.Exit(ExitCode.FAILED)
