"""Where the `lockgate` command begins: Ctrl-C before anything has started ends it without a traceback."""

import sys

_INTERRUPTED = 130


def main() -> None:
    """Import the command line, which takes a moment, and run it."""
    try:
        from ops.cli.main import main as run  # noqa: PLC0415 - only here can an interrupted import be met
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()
