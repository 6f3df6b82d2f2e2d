"""`lockgate serve`: one gateway process, configured by `LOCKGATE_*` and `AWS_*`."""

import asyncio
from typing import Annotated

import typer

from ops.cli.errors import explained


def serve(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the public API.")] = 8080,
    private_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port of health and metrics.", show_default="port + 1")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Run a gateway until SIGTERM or Ctrl-C."""
    # What a gateway imports takes longer than showing its help.
    from ops.cli.environment import settings_of  # noqa: PLC0415
    from ops.settings import Settings  # noqa: PLC0415

    settings = settings_of(Settings)
    from ops.serve import serve as run  # noqa: PLC0415

    with explained():
        asyncio.run(run(settings, host=host, port=port, private_port=private_port or port + 1))
