"""`lockgate serve`: a gateway of one process or several, configured by `LOCKGATE_*` and `AWS_*`."""

import asyncio
from typing import Annotated

import typer
import uvloop

from ops.cli.errors import ExitCode, complain, explained
from ops.errors import CannotServeError


def serve(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the public API.")] = 8080,
    private_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port of health and metrics.", show_default="port + 1")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the port.")] = 1,
    as_worker: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Run a gateway until SIGTERM or Ctrl-C; with several workers, SIGHUP replaces them one by one.

    Settings come from LOCKGATE_* and AWS_* variables; .env.example lists them, .lockgate/dev.env has the dev stack's.

    Example: lockgate serve --port 8080 --workers 4
    """
    # What a gateway imports takes longer than showing its help.
    from ops.cli.environment import settings_of  # noqa: PLC0415
    from ops.settings import Settings  # noqa: PLC0415

    settings = settings_of(Settings)
    private = private_port or port + 1
    try:
        with explained():
            if as_worker:
                from ops.lifeline import Place  # noqa: PLC0415
                from ops.serve import serve_as_worker  # noqa: PLC0415

                uvloop.run(serve_as_worker(settings, Place.parse(as_worker)))
            elif workers > 1:
                from ops.supervise import supervise  # noqa: PLC0415

                asyncio.run(supervise(settings, workers=workers, host=host, port=port, private_port=private))
            else:
                from ops.serve import serve as run  # noqa: PLC0415

                uvloop.run(run(settings, host=host, port=port, private_port=private))
    except CannotServeError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.FAILED) from error
