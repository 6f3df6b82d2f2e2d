"""What stays on the terminal once the stack is up: where to go, who you are, one line to paste."""

import shlex
from pathlib import Path

import orjson
from rich.text import Text

from ops.devstack.dev_files import DevFile
from ops.devstack.layout import Layout
from ops.devstack.show import AGENT
from tenancy.ids import TenantId


def summary(dev: DevFile, layout: Layout, shown: TenantId) -> list[Text]:
    """Return the lines to print; tokens and the curl are one line each, to be selected as a whole."""
    places = [
        ("gateway", dev.gateway),
        ("its description", f"{dev.gateway}/docs"),
        ("metrics", f"{dev.private}/metrics"),
        ("identity", dev.issuer),
        ("webhooks", f"{dev.receiver}  (what came, verified)"),
        ("AgentCore", f"{dev.runtime}  (control plane {dev.runtime_control})"),
        ("logs", f"{_short(layout.log('x').parent)}/"),
        ("for programs", f"{_short(layout.dev_json)} and {_short(layout.dev_env)}"),
    ]
    tokens = [(f"{name} ({tenant.tier})", tenant.token) for name, tenant in dev.tenants.items()]
    return [
        Text(),
        *(_field(name, value) for name, value in places),
        Text(),
        *(_field(name, token, "dim") for name, token in tokens),
        Text(),
        Text.assemble("  ", ("Paste this into another terminal and watch it stream:", "bold")),
        Text(),
        Text(curl(dev.gateway, layout.header(shown))),
        Text(),
        Text.assemble("  ", ("Ctrl-C stops everything.", "bold")),
    ]


def curl(gateway: str, header: Path) -> str:
    """Return one line that any POSIX shell runs as it is, in any folder, and that prints a stream as it arrives.

    The token comes from a file: the line stays readable, out of the shell's history, and good after a restart.
    """
    body = {"input": {"prompt": "The gate opens for one vessel at a time", "delayMs": 300}}
    words = [
        *("curl", "-sN", f"{gateway}/v1/agents/{AGENT}/invocations"),
        *("-H", f"@{header}"),
        *("-H", "Content-Type: application/json"),
        *("-H", "Accept: text/event-stream"),
        *("-d", orjson.dumps(body).decode()),
    ]
    return shlex.join(words)


def _field(name: str, value: str, style: str = "") -> Text:
    return Text.assemble("  ", (f"{name:<16}", "cyan"), (value, style))


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
