"""`lockgate work`: one worker process, configured by `LOCKGATE_*` and `AWS_*`."""

from typing import Annotated

import typer
import uvloop

from ops.cli.errors import explained


def work(
    private_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of health and metrics; 0 takes a free one.")
    ] = 0,
) -> None:
    """Drive jobs until SIGTERM or Ctrl-C.

    Settings come from LOCKGATE_* and AWS_* variables; .env.example lists them, .lockgate/dev.env has the dev stack's.

    Example: lockgate work --private-port 8089
    """
    # What a worker imports takes longer than showing its help.
    from ops.cli.environment import settings_of  # noqa: PLC0415
    from ops.settings import Settings  # noqa: PLC0415

    settings = settings_of(Settings)
    from ops.work import work as run  # noqa: PLC0415

    with explained():
        uvloop.run(run(settings, private_port=private_port))
