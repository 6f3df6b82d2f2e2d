"""`lockgate runtime`: the local AgentCore by itself, for anybody who writes an agent or a client of one."""

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer
import uvloop

from ops.cli.errors import explained
from ops.devstack.runtime.callers import DevKey
from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.register import register
from ops.devstack.runtime.registry import Runtime
from ops.devstack.runtime.server import LocalAgentCore, Options, serve_until_told

_DEFAULTS: Final = Limits()


def runtime(
    *,
    agent: Annotated[
        list[Path] | None, typer.Option(help="A folder with a main.py to register; may be given again.", exists=True)
    ] = None,
    data_port: Annotated[int, typer.Option(help="Port of the data plane; 0 takes a free one.")] = 8090,
    control_port: Annotated[int, typer.Option(help="Port of the control plane; 0 takes a free one.")] = 8091,
    state: Annotated[Path, typer.Option(help="Keeps runtimes and agents' logs.")] = Path(".lockgate/agentcore"),
    code_root: Annotated[Path, typer.Option(help="The folder all agents are below.", exists=True)] = Path(),
    python: Annotated[Path, typer.Option(help="Runs agents that have no .venv of their own.")] = Path(sys.executable),
    region: Annotated[str, typer.Option(help="The region of agents registered here.")] = "eu-west-1",
    access_key: Annotated[str, typer.Option(help="The access key whose signatures are verified.")] = "",
    secret_key_file: Annotated[Path | None, typer.Option(help="Holds that key's secret.", exists=True)] = None,
    require_auth: Annotated[bool, typer.Option("--require-auth", help="Refuse unsigned and unknown callers.")] = False,
    strict_ping: Annotated[
        bool, typer.Option("--strict-ping", help="HealthyBusy counts only with time_of_last_update.")
    ] = False,
    max_sessions: Annotated[int, typer.Option(help="Most active sessions.", min=1)] = _DEFAULTS.active_sessions,
    new_sessions_per_second: Annotated[
        float, typer.Option(help="Most new sessions a second.", min=0.01)
    ] = _DEFAULTS.new_sessions_per_s,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Run the local AgentCore until Ctrl-C: AWS's data plane and control plane, one process per session.

    Example: lockgate runtime --agent agents/echo-agent
    """
    logging.basicConfig(level=log_level.upper(), format="%(levelname)s %(message)s")
    secret = secret_key_file.read_text().strip() if secret_key_file else ""
    options = Options(
        state=state,
        code_root=code_root,
        python=python,
        data_port=data_port,
        control_port=control_port,
        key=DevKey(access_key, secret) if access_key and secret else None,
        region=region,
        require_auth=require_auth,
        strict_ping=strict_ping,
        limits=Limits(active_sessions=max_sessions, new_sessions_per_s=new_sessions_per_second),
    )
    core = LocalAgentCore(options)
    with explained():
        uvloop.run(serve_until_told(core, partial(_announce, core, agent or ())))


async def _announce(core: LocalAgentCore, folders: Sequence[Path]) -> None:
    typer.echo(f"Local AgentCore: data plane {core.data_url}, control plane {core.control_url}\n")
    typer.echo("Point any AWS SDK at it:")
    typer.echo(f"  export AWS_ENDPOINT_URL_BEDROCK_AGENTCORE={core.data_url}")
    typer.echo(f"  export AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL={core.control_url}")
    typer.echo(f"  export AWS_DEFAULT_REGION={core.options.region} AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local")
    for folder in folders:
        _show(core, folder, await register(core, folder))
    typer.echo("\nCtrl-C stops it.")


def _show(core: LocalAgentCore, folder: Path, made: Runtime) -> None:
    url = f"{core.data_url}/runtimes/{quote(str(made.arn), safe='')}/invocations"
    typer.echo(f"\n{folder} is version {made.newest.number} of {made.arn}")
    typer.echo(f"  curl -N '{url}' -d '{{\"prompt\": \"hello\"}}'")
    typer.echo(
        '  python -c \'import boto3; print(boto3.client("bedrock-agentcore").invoke_agent_runtime('
        f'agentRuntimeArn="{made.arn}", payload="{{\\"prompt\\": \\"hello\\"}}")["response"].read())\''
    )
