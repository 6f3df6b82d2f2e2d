"""The reach of a tenant in the indexes of its tables."""

import pytest

from tenancy.ids import TenantId
from tenancy.reach import TenantReach, telling
from tenancy.tables import DEAD_LETTER_INDEX, DIRECTORY_INDEX, OPEN_INDEX, SWEEP_INDEX, TENANT_TABLES, Index, Table

BY_AGENT = Index("by_agent", "agent_pk", "agent_sk")
TABLE = Table("indexed", "tenant", (BY_AGENT, SWEEP_INDEX, DEAD_LETTER_INDEX, OPEN_INDEX, DIRECTORY_INDEX))
REACH = TenantReach(TenantId("a1"))


@pytest.mark.parametrize(
    ("index", "partition", "held"),
    [
        (BY_AGENT, "TENANT#a1#echo", True),
        (BY_AGENT, "TENANT#a1", False),
        (BY_AGENT, "TENANT#a11#echo", False),
        (BY_AGENT, "AGENT#echo", False),
        (SWEEP_INDEX, "TENANT#a1#echo", False),
        (SWEEP_INDEX, "SWEEP#0", False),
        (DEAD_LETTER_INDEX, "TENANT#a1#echo", False),
        (DEAD_LETTER_INDEX, "DEADLETTERS", False),
        (OPEN_INDEX, "TENANT#a1#echo", False),
        (OPEN_INDEX, "OPEN#0123456789abcdef", False),
        (DIRECTORY_INDEX, "TENANT#a1#echo", False),
        (DIRECTORY_INDEX, "DIRECTORY", False),
    ],
)
def test_a_tenant_reads_only_its_own_partitions_of_an_index(index: Index, partition: str, *, held: bool) -> None:
    assert REACH.holds_index_key(index, partition) is held


@pytest.mark.parametrize(
    ("attribute", "value", "carried"),
    [
        ("tenant_id", "a1", True),
        ("tenant_id", "a11", False),
        ("tenant_id", None, False),
        ("agent_pk", "TENANT#a1#echo", True),
        ("agent_pk", "TENANT#a11#echo", False),
        ("agent_pk", None, False),
        ("agent_sk", "anything", True),
        ("sweep_pk", "SWEEP#7", True),
        ("sweep_pk", "SWEEP#8", False),
        ("sweep_pk", "SWEEP#7#", False),
        ("sweep_sk", "2026#a1#job", True),
        ("sweep_sk", "2026#a11#job", False),
        ("sweep_sk", "a1", False),
        ("sweep_sk", None, False),
        ("dead_letter_pk", "DEADLETTERS", True),
        ("dead_letter_pk", "SWEEP#0", False),
        ("dead_letter_sk", "2026#a1#job", True),
        ("dead_letter_sk", "2026#a11#job", False),
        ("dead_letter_sk", None, False),
        ("open_pk", "OPEN#0123456789abcdef", True),
        ("open_pk", "OPEN#0123456789abcdef0", False),
        ("open_pk", "SWEEP#0", False),
        ("open_sk", "2026#a1#inv", True),
        ("open_sk", "2026#a11#inv", False),
        ("open_sk", None, False),
        ("directory_pk", "DIRECTORY", True),
        ("directory_pk", "DIRECTORY#", False),
        ("directory_pk", "TENANT#a1#echo", False),
        ("directory_sk", "a1", True),
        ("directory_sk", "a11", False),
        ("directory_sk", None, False),
        ("result_json", "TENANT#a11", True),
        ("fence", None, True),
    ],
)
def test_an_item_stands_only_in_its_own_tenants_name(attribute: str, value: str | None, *, carried: bool) -> None:
    assert REACH.may_carry(TABLE, attribute, value) is carried


@pytest.mark.parametrize("table", TENANT_TABLES, ids=lambda table: table.name)
def test_what_does_not_tell_whose_an_item_is_may_hold_anything(table: Table) -> None:
    keys = {key for index in table.indexes for key in (index.partition_key, index.sort_key)}
    assert telling(table) == keys | {"tenant_id"}
    for attribute in ("pk", "status", "agent_pk", "sweep_pk", "directory_sk", "tenant_ids"):
        if attribute not in telling(table):
            assert REACH.may_carry(table, attribute, "TENANT#a11")
            assert REACH.may_carry(table, attribute, None)
