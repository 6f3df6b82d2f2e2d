"""What a scope may reach in DynamoDB, as the guard on the client sees it.

A tenant reaches its own partition of every tenant table and nothing else. A platform verb reaches what its one row
of VERBS says: one operation, one table, one kind of key. The doors do not use this module: each layer judges alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

from tenancy import tables
from tenancy.errors import LockgateError
from tenancy.ids import TenantId
from tenancy.tables import (
    BOUND_INDEX,
    CATALOG_INDEX,
    DEAD_LETTER_INDEX,
    DIRECTORY_INDEX,
    OPEN_INDEX,
    SWEEP_INDEX,
    TRAIL_INDEX,
    Index,
    Table,
)

_SHARD: Final = re.compile(rf"SWEEP#[0-{tables.SWEEP_SHARDS - 1}]", re.ASCII)
_OPEN: Final = re.compile(r"OPEN#[0-9a-f]{16}", re.ASCII)
_BINDINGS: Final = re.compile(r"TENANT#[a-z0-9-]+#BINDINGS", re.ASCII)
# Indexes that span tenants: a tenant stands in them and never reads them.
_SPANNING: Final = (SWEEP_INDEX, DEAD_LETTER_INDEX, OPEN_INDEX, DIRECTORY_INDEX, TRAIL_INDEX)
# Of these, those whose sort key is `{time}#{tenant}#{record}`: who reads it acts for the tenant found there.
_TIMED: Final = (SWEEP_INDEX, DEAD_LETTER_INDEX, OPEN_INDEX, TRAIL_INDEX)
_TRAILS: Final = re.compile("|".join((tables.ACTS, tables.REFUSALS, tables.HEADS)))


class CallRefusedError(LockgateError):
    """A call that the active scope does not cover; `reason` is a fixed sentence, `resource` what was called."""

    def __init__(self, reason: str, resource: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.resource = resource


class Reach(Protocol):
    """The limits of one scope."""

    def operates(self, operation: str) -> bool:
        """Tell whether the AWS operation may be called at all."""
        ...

    def holds_table(self, table: Table) -> bool:
        """Tell whether the table may be touched."""
        ...

    def holds_key(self, partition: str) -> bool:
        """Tell whether a table's own partition may be touched."""
        ...

    def holds_index_key(self, index: Index, partition: str) -> bool:
        """Tell whether an index's partition may be read."""
        ...


@dataclass(frozen=True, slots=True)
class TenantReach:
    """One tenant's own data."""

    tenant_id: TenantId

    def operates(self, operation: str) -> bool:
        """Allow what the tenants' door does; never a scan, PartiQL or the administration of tables."""
        return operation in _TENANT_OPERATIONS

    def holds_table(self, table: Table) -> bool:
        """Allow every tenant table."""
        return table.owner == "tenant"

    def holds_key(self, partition: str) -> bool:
        """Allow exactly `TENANT#{id}`: a prefix would let tenant a1 reach a11."""
        return partition == f"TENANT#{self.tenant_id}"

    def holds_index_key(self, index: Index, partition: str) -> bool:
        """Allow `TENANT#{id}#…`, which no index that spans tenants uses."""
        return index not in _SPANNING and partition.startswith(f"TENANT#{self.tenant_id}#")

    def may_carry(self, table: Table, attribute: str, value: str | None) -> bool:
        """Tell whether an item may be stored with this value (None where it is no text), in every index too."""
        if attribute == "tenant_id":
            return value == self.tenant_id
        for index in table.indexes:
            if attribute == index.partition_key:
                return value is not None and self._may_stand_in(index, value)
            if attribute == index.sort_key and index in _TIMED:
                return value is not None and value.split("#")[1:2] == [self.tenant_id]
            if attribute == index.sort_key and index == DIRECTORY_INDEX:
                return value == self.tenant_id
        return True

    def _may_stand_in(self, index: Index, partition: str) -> bool:
        if index == SWEEP_INDEX:
            return _SHARD.fullmatch(partition) is not None
        if index == OPEN_INDEX:
            return _OPEN.fullmatch(partition) is not None
        if index == DEAD_LETTER_INDEX:
            return partition == tables.DEAD_LETTERS
        if index == DIRECTORY_INDEX:
            return partition == tables.DIRECTORY
        if index == TRAIL_INDEX:
            return _TRAILS.fullmatch(partition) is not None
        return self.holds_index_key(index, partition)


@cache
def telling(table: Table) -> frozenset[str]:
    """Return the attributes that say whose an item is; a tenant may carry any value in any other."""
    return frozenset({"tenant_id"}.union(*((index.partition_key, index.sort_key) for index in table.indexes)))


@dataclass(frozen=True, slots=True)
class VerbReach:
    """One operation on one kind of platform item, by its key or by one kind of partition of one index."""

    operation: str
    table: Table
    key_prefix: str = ""
    index: Index | None = None
    index_key: re.Pattern[str] = re.compile("(?!)")

    def operates(self, operation: str) -> bool:
        """Allow the verb's one operation."""
        return operation == self.operation

    def holds_table(self, table: Table) -> bool:
        """Allow the verb's one table."""
        return table == self.table

    def holds_key(self, partition: str) -> bool:
        """Allow keys of the verb's kind."""
        return self.index is None and partition.startswith(self.key_prefix)

    def holds_index_key(self, index: Index, partition: str) -> bool:
        """Allow the verb's one kind of partition of its one index."""
        return index == self.index and self.index_key.fullmatch(partition) is not None


@dataclass(frozen=True, slots=True)
class JointReach:
    """Writes of several kinds, in one transaction and nothing outside of one unless another operation is named."""

    parts: tuple[VerbReach, ...]
    operation: str = "TransactWriteItems"

    def operates(self, operation: str) -> bool:
        """Allow the transaction alone, or the one operation the parts have in common."""
        return operation == self.operation

    def holds_table(self, table: Table) -> bool:
        """Allow the tables of the parts."""
        return any(part.holds_table(table) for part in self.parts)

    def holds_key(self, partition: str) -> bool:
        """Allow keys of the parts' kinds; no two kinds have keys that could be each other's."""
        return any(part.holds_key(partition) for part in self.parts)

    def holds_index_key(self, index: Index, partition: str) -> bool:
        """Read nothing."""
        del index, partition
        return False


@dataclass(frozen=True, slots=True)
class SurveyReach:
    """The keys, and nothing but the keys, of all that is stored but for erasures: ItemGuard holds a scan to that."""

    def operates(self, operation: str) -> bool:
        """Allow scans."""
        return operation == "Scan"

    def holds_table(self, table: Table) -> bool:
        """Allow every table but the one that says what was erased."""
        return table != tables.ERASURES

    def holds_key(self, partition: str) -> bool:
        """Read no item."""
        del partition
        return False

    def holds_index_key(self, index: Index, partition: str) -> bool:
        """Read no index by its key."""
        del index, partition
        return False


def _told(*parts: tuple[Table, str]) -> JointReach:
    """Return the reach of a change that is stored with the event that tells of it."""
    return JointReach(tuple(VerbReach("TransactWriteItems", *part) for part in (*parts, (tables.AUDIT, "TENANT#"))))


_TENANT_OPERATIONS: Final = frozenset(
    {"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "BatchWriteItem", "TransactWriteItems"}
)

VERBS: Final[Mapping[str, Reach]] = {
    "binding": VerbReach("GetItem", tables.IDENTITY_BINDINGS, "BINDING#"),
    "put_binding": VerbReach("PutItem", tables.IDENTITY_BINDINGS, "BINDING#"),
    "bindings_of": VerbReach("Query", tables.IDENTITY_BINDINGS, index=BOUND_INDEX, index_key=_BINDINGS),
    "tenants": VerbReach("Query", tables.TENANTS, index=DIRECTORY_INDEX, index_key=re.compile(tables.DIRECTORY)),
    "owed_jobs": VerbReach("Query", tables.JOBS, index=SWEEP_INDEX, index_key=_SHARD),
    "owed_outbox": VerbReach("Query", tables.OUTBOX, index=SWEEP_INDEX, index_key=_SHARD),
    "owed_deliveries": VerbReach("Query", tables.DELIVERIES, index=SWEEP_INDEX, index_key=_SHARD),
    "dead_letters": VerbReach("Query", tables.JOBS, index=DEAD_LETTER_INDEX, index_key=re.compile(tables.DEAD_LETTERS)),
    "ops_lock": VerbReach("GetItem", tables.OPS_LOCKS, "LOCK#"),
    "put_ops_lock": VerbReach("PutItem", tables.OPS_LOCKS, "LOCK#"),
    "region_flag": VerbReach("GetItem", tables.RUNTIME_REGION, "REGION#"),
    "put_region_flag": VerbReach("PutItem", tables.RUNTIME_REGION, "REGION#"),
    "processes": VerbReach("Query", tables.OPS_LOCKS, tables.PROCESSES),
    "put_process": VerbReach("PutItem", tables.OPS_LOCKS, tables.PROCESSES),
    "delete_process": VerbReach("DeleteItem", tables.OPS_LOCKS, tables.PROCESSES),
    "open_invocations": VerbReach("Query", tables.INVOCATIONS, index=OPEN_INDEX, index_key=_OPEN),
    "promoted_agents": VerbReach("Query", tables.AGENTS, index=CATALOG_INDEX, index_key=re.compile("CATALOG")),
    "agent_version": VerbReach("GetItem", tables.AGENTS, "AGENT#"),
    "put_agent_version": VerbReach("PutItem", tables.AGENTS, "AGENT#"),
    "agent_versions": VerbReach("Query", tables.AGENTS, "AGENT#"),
    "registered_agents": VerbReach("Query", tables.AGENTS, index=CATALOG_INDEX, index_key=re.compile("REGISTRY")),
    "store_agent_version": _told((tables.AGENTS, "AGENT#")),
    "store_binding": _told((tables.IDENTITY_BINDINGS, "BINDING#")),
    "store_api_key": _told((tables.API_KEYS, "TENANT#"), (tables.KEY_HASHES, "KEYHASH#")),
    "key_hash": VerbReach("GetItem", tables.KEY_HASHES, "KEYHASH#"),
    "trail": VerbReach("Query", tables.AUDIT, index=TRAIL_INDEX, index_key=_TRAILS),
    "store_tool": _told((tables.TOOLS, tables.TOOLS_PARTITION)),
    "tools": VerbReach("Query", tables.TOOLS, tables.TOOLS_PARTITION),
    "survey": SurveyReach(),
    "erase": JointReach(
        (
            VerbReach("DeleteItem", tables.IDENTITY_BINDINGS, "BINDING#"),
            VerbReach("DeleteItem", tables.KEY_HASHES, "KEYHASH#"),
            VerbReach("DeleteItem", tables.AGENTS, "AGENT#"),
        ),
        "DeleteItem",
    ),
    "erasure": VerbReach("GetItem", tables.ERASURES, "ERASURE#"),
    "put_erasure": VerbReach("PutItem", tables.ERASURES, "ERASURE#"),
    "store_erasure": _told((tables.ERASURES, "ERASURE#")),
    "put_tool": VerbReach("PutItem", tables.TOOLS, tables.TOOLS_PARTITION),
}
