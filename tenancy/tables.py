"""Names, keys, indexes and lifetimes of every DynamoDB table, as pure data.

A tenant's items are keyed `TENANT#{id}`, its index keys start with `TENANT#{id}#`: exactly these two forms, so
that an IAM condition on `dynamodb:LeadingKeys` can hold the same line as the code. Platform tables hold what is
cross-tenant by nature and are reached through `tenancy.platform_store` alone.
"""

from dataclasses import dataclass
from typing import Final, Literal

from tenancy.ids import TenantId

PARTITION_KEY: Final = "pk"
SORT_KEY: Final = "sk"
TTL_ATTRIBUTE: Final = "ttl"

# The sweeper's index spans tenants by purpose; only its verb of the platform door reads it.
SWEEP_SHARDS: Final = 8
# The one partition of the list of all tenants; it, too, is read by the platform door alone.
DIRECTORY: Final = "DIRECTORY"
# The one partition of the registry of tools; read by the platform door alone.
TOOLS_PARTITION: Final = "TOOLS"
# The one partition of the processes that serve invocations; read by the platform door alone.
PROCESSES: Final = "PROCESSES"
# The one partition of the jobs that were given up on, of all tenants; read by the platform door alone.
DEAD_LETTERS: Final = "DEADLETTERS"
# Operators' acts, what was refused, and the ends of the audit chains, of all tenants; read by the platform door alone.
ACTS: Final = "ACTS"
REFUSALS: Final = "REFUSALS"
HEADS: Final = "HEADS"


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """A global secondary index, keyed by two string attributes; sparse where items leave them out."""

    name: str
    partition_key: str
    sort_key: str


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One table: `name` without the deployment's prefix, and who owns its items. There is one of each."""

    name: str
    owner: Literal["tenant", "platform"]
    indexes: tuple[Index, ...] = ()
    expires: bool = False


SWEEP_INDEX: Final = Index("sweep", "sweep_pk", "sweep_sk")
DEAD_LETTER_INDEX: Final = Index("dead-letters", "dead_letter_pk", "dead_letter_sk")
# The invocations that a process serves, of all tenants; read by the platform door alone.
OPEN_INDEX: Final = Index("open", "open_pk", "open_sk")
CATALOG_INDEX: Final = Index("catalog", "catalog_pk", "catalog_sk")
DIRECTORY_INDEX: Final = Index("directory", "directory_pk", "directory_sk")
BOUND_INDEX: Final = Index("bound", "bound_pk", "bound_sk")
TRAIL_INDEX: Final = Index("trail", "trail_pk", "trail_sk")

TENANTS: Final = Table("tenants", "tenant", (DIRECTORY_INDEX,))
INVOCATIONS: Final = Table("invocations", "tenant", (OPEN_INDEX,), expires=True)
JOBS: Final = Table("jobs", "tenant", (SWEEP_INDEX, DEAD_LETTER_INDEX), expires=True)
SESSIONS: Final = Table("sessions", "tenant", expires=True)
WEBHOOKS: Final = Table("webhooks", "tenant")
DELIVERIES: Final = Table("deliveries", "tenant", (SWEEP_INDEX,), expires=True)
OUTBOX: Final = Table("outbox", "tenant", (SWEEP_INDEX,), expires=True)
USAGE: Final = Table("usage", "tenant")
IDEMPOTENCY: Final = Table("idempotency", "tenant", expires=True)
API_KEYS: Final = Table("api-keys", "tenant")
AUDIT: Final = Table("audit", "tenant", (TRAIL_INDEX,))
TOOL_OVERRIDES: Final = Table("tool-overrides", "tenant")

AGENTS: Final = Table("agents", "platform", (CATALOG_INDEX,))
TOOLS: Final = Table("tools", "platform")
IDENTITY_BINDINGS: Final = Table("identity-bindings", "platform", (BOUND_INDEX,))
KEY_HASHES: Final = Table("key-hashes", "platform")
OPS_LOCKS: Final = Table("ops-locks", "platform")
RUNTIME_REGION: Final = Table("runtime-region", "platform")
# What was erased of tenants that are no more, and the proof of it.
ERASURES: Final = Table("erasures", "platform")

TENANT_TABLES: Final = (
    TENANTS,
    INVOCATIONS,
    JOBS,
    SESSIONS,
    WEBHOOKS,
    DELIVERIES,
    OUTBOX,
    USAGE,
    IDEMPOTENCY,
    API_KEYS,
    AUDIT,
    TOOL_OVERRIDES,
)
PLATFORM_TABLES: Final = (AGENTS, TOOLS, IDENTITY_BINDINGS, KEY_HASHES, OPS_LOCKS, RUNTIME_REGION, ERASURES)
TABLES: Final = TENANT_TABLES + PLATFORM_TABLES


def tenant_partition(tenant_id: TenantId) -> str:
    """Return the partition key of all of a tenant's items."""
    return f"TENANT#{tenant_id}"


def tenant_prefix(tenant_id: TenantId) -> str:
    """Return the prefix of all of a tenant's S3 keys."""
    return f"tenants/{tenant_id}/"
