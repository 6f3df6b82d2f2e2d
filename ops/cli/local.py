"""The running dev stack, as commands find it: where its state is, and what it answers over its socket."""

import asyncio

import typer

from ops.cli.environment import settings_of
from ops.cli.errors import ExitCode, complain, explained
from ops.devstack.control import Reply, Request, ask
from ops.devstack.dev_files import DevFile, read_dev_file
from ops.devstack.layout import CHECKOUT, Layout, StackNotRunningError
from ops.settings import DevSettings


def layout() -> Layout:
    """Return where the stack's state is."""
    return Layout((settings_of(DevSettings).state or CHECKOUT / ".lockgate").absolute())


def running() -> DevFile:
    """Return what the running stack is; ends the command where none runs."""
    place = layout()
    with explained():
        found = read_dev_file(place)
        if found is None:
            raise StackNotRunningError(place.state)
    return found


def asked(request: Request) -> Reply:
    """Return what the running stack answers; ends the command where it refuses."""
    place = layout()
    with explained():
        known = read_dev_file(place)
        socket = known.control if known else place.state / "dev.sock"
        try:
            reply = asyncio.run(ask(socket, request))
        except StackNotRunningError:
            raise StackNotRunningError(place.state) from None
    if not reply.ok:
        complain(reply.detail)
        raise typer.Exit(ExitCode.FAILED)
    return reply
