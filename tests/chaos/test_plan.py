"""A seed always plans the same, and knows no fault that outlasts its run by much."""

from collections import Counter

from tests.chaos.load import wishes
from tests.chaos.plan import Kind, plan

TENANTS = {"acme": 6, "globex": 1}


def test_a_seed_plans_the_same_every_time() -> None:
    assert plan(5, 60) == plan(5, 60) != plan(6, 60)
    assert wishes(5, 20, 60, TENANTS) == wishes(5, 20, 60, TENANTS) != wishes(6, 20, 60, TENANTS)


def test_a_long_run_knows_every_fault_and_a_worker_that_outsleeps_its_lease() -> None:
    faults = [fault for seed in range(20) for fault in plan(seed, 120)]
    assert Counter(fault.kind for fault in faults).keys() == set(Kind)
    assert any(fault.kind is Kind.FREEZE and fault.for_s > 30 for fault in faults)


def test_a_short_run_has_no_fault_longer_than_eight_seconds() -> None:
    assert max(fault.for_s for seed in range(50) for fault in plan(seed, 15)) <= 8
