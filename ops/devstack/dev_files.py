"""dev.json, dev.env and a header file per tenant: what the running stack is, for programs, for shells and for curl.

All exist only while the stack runs, are replaced as a whole and are readable by their owner alone.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from ops.devstack.layout import Layout, StateUnreadableError, write_private
from tenancy.ids import TenantId
from tenancy.tiers import Tier


class _DevModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class DevTenant(_DevModel):
    """A seeded tenant and a token of its application, good for 12 h."""

    tier: Tier
    token: str


class DevOperator(_DevModel):
    """A token with Platform.Operator and Platform.Admin, good for 12 h."""

    token: str


class DevFile(_DevModel):
    """Everything a program needs to use the running stack."""

    gateway: str
    private: str
    runtime: str
    runtime_control: str
    issuer: str
    receiver: str
    tenants: Mapping[TenantId, DevTenant]
    operator: DevOperator
    pids: Mapping[str, int]
    stack_pid: int
    control: Path = Field(description="the unix socket of `lockgate dev start|stop|status`")

    def write(self, layout: Layout) -> None:
        """Replace dev.json and the tenants' header files."""
        for tenant_id, tenant in self.tenants.items():
            write_private(layout.header(tenant_id), f"Authorization: Bearer {tenant.token}\n".encode())
        write_private(layout.dev_json, self.model_dump_json(by_alias=True, indent=2).encode() + b"\n")


def read_dev_file(layout: Layout) -> DevFile | None:
    """Return dev.json, None where there is none; raises StateUnreadableError."""
    try:
        return DevFile.model_validate_json(layout.dev_json.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StateUnreadableError(f"{layout.dev_json} is not one of this version's; `make dev` writes it") from error


def write_dev_env(layout: Layout, variables: Mapping[str, str]) -> None:
    """Replace dev.env: `KEY=value` lines that a shell can source, quoted only where a shell needs it."""
    lines = [f"{name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    write_private(layout.dev_env, "\n".join([*lines, ""]).encode())


def remove_dev_files(layout: Layout) -> None:
    """Remove them all: no stack runs on this state."""
    for path in (layout.dev_json, layout.dev_env, *layout.state.glob(layout.header("*").name)):
        path.unlink(missing_ok=True)
