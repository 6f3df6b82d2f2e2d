"""What commands of several nouns name: tenants, and which part of a list."""

from typing import Annotated

import typer

from tenancy.errors import InvalidIdError
from tenancy.ids import parse_tenant_id


def _id(text: str) -> str:
    try:
        return parse_tenant_id(text)
    except InvalidIdError as error:
        raise typer.BadParameter(
            f"{error}: 3 to 32 of a-z, 0-9 and -, a letter first, no -- and no reserved name"
        ) from None


Id = Annotated[str, typer.Argument(parser=_id, metavar="TENANT", help="The tenant's id.")]
Standing = Annotated[str | None, typer.Option("--status", help="Only those that stand so, as running.")]
Most = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
