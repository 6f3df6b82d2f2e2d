"""`python -m ops.devstack.runtime`: the local AgentCore as a process of its own; ends cleanly on SIGTERM or Ctrl-C."""

import argparse
import logging
import sys
from functools import partial
from pathlib import Path

import uvloop

from ops.devstack.runtime.callers import DevKey
from ops.devstack.runtime.errors import PortTakenError
from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.server import LocalAgentCore, Options, serve_until_told

_log = logging.getLogger(__name__)


def main() -> None:
    """Serve until told to stop."""
    given = _parser().parse_args()
    logging.basicConfig(
        level=given.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    core = LocalAgentCore(_options(given))
    try:
        uvloop.run(serve_until_told(core, partial(_announce, core)))
    except PortTakenError as error:
        sys.exit(str(error))


async def _announce(core: LocalAgentCore) -> None:
    _log.info("data plane %s, control plane %s", core.data_url, core.control_url)


def _options(given: argparse.Namespace) -> Options:
    key = None
    if given.access_key and given.secret_key_file:
        key = DevKey(given.access_key, given.secret_key_file.read_text().strip())
    return Options(
        state=given.state,
        code_root=given.code_root,
        python=given.python,
        data_port=given.data_port,
        control_port=given.control_port,
        key=key,
        region=given.region,
        require_auth=given.require_auth,
        strict_ping=given.strict_ping,
        limits=Limits(active_sessions=given.max_sessions, new_sessions_per_s=given.new_sessions_per_second),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.devstack.runtime", description=__doc__)
    parser.add_argument("--data-port", type=int, default=8090)
    parser.add_argument("--control-port", type=int, default=8091)
    parser.add_argument("--state", type=Path, default=Path(".lockgate/agentcore"))
    parser.add_argument("--code-root", type=Path, default=Path())
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="for agents without a .venv")
    parser.add_argument("--access-key", help="the access key whose signatures are verified")
    parser.add_argument("--secret-key-file", type=Path, help="holds its secret")
    parser.add_argument("--region", default="eu-west-1", help="of unsigned requests")
    parser.add_argument("--require-auth", action="store_true", help="refuse unsigned requests and unknown keys")
    parser.add_argument("--strict-ping", action="store_true", help="HealthyBusy counts only with time_of_last_update")
    parser.add_argument("--max-sessions", type=int, default=Limits().active_sessions)
    parser.add_argument("--new-sessions-per-second", type=float, default=Limits().new_sessions_per_s)
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser


if __name__ == "__main__":
    main()
