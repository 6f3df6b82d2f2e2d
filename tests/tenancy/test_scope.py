import asyncio

import pytest

from tenancy.errors import TenantAccessViolation
from tenancy.ids import TenantId
from tenancy.scope import PlatformScope, Scope, TenantScope, active_scope, entered

ACME = TenantScope(TenantId("acme"))
GLOBEX = TenantScope(TenantId("globex"))
VERB = PlatformScope("binding")


@pytest.mark.parametrize("outer", [ACME, VERB], ids=["another tenant", "a platform verb"])
def test_a_tenants_scope_is_not_entered_from(outer: Scope) -> None:
    with entered(outer):
        with pytest.raises(TenantAccessViolation) as refused, entered(GLOBEX):
            pass
        assert active_scope() == outer
    assert refused.value.tenant_id == (ACME.tenant_id if outer == ACME else None)
    assert active_scope() is None


def test_a_scope_may_be_entered_again_and_a_verb_from_anywhere() -> None:
    with entered(ACME):
        with entered(ACME), entered(VERB), entered(PlatformScope("agent_version")):
            assert active_scope() == PlatformScope("agent_version")
        assert active_scope() == ACME


def test_a_scope_ends_with_its_block_also_by_an_error() -> None:
    with pytest.raises(ZeroDivisionError), entered(ACME):
        raise ZeroDivisionError
    assert active_scope() is None


async def test_tasks_act_each_in_its_own_scope() -> None:
    both_in = asyncio.Barrier(2)

    async def act(scope: Scope) -> Scope | None:
        with entered(scope):
            await both_in.wait()
            return active_scope()

    assert [*await asyncio.gather(act(ACME), act(GLOBEX))] == [ACME, GLOBEX]
    assert active_scope() is None
