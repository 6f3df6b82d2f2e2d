import pytest

from ops.errors import CrashLoopError
from ops.restarts import LIMIT, STEADY_S, Restarts


def test_the_first_restart_is_at_once_and_each_further_one_waits_longer() -> None:
    restarts = Restarts()
    assert [restarts.pause_s(1) for _ in range(LIMIT - 1)] == [0.0, 0.25, 0.5, 1.0]


def test_a_worker_that_cannot_live_is_given_up() -> None:
    restarts = Restarts()
    for _ in range(LIMIT - 1):
        restarts.pause_s(0)
    with pytest.raises(CrashLoopError, match=f"{LIMIT} times"):
        restarts.pause_s(0)


def test_a_worker_that_lived_long_begins_a_new_count() -> None:
    restarts = Restarts()
    for _ in range(LIMIT - 1):
        restarts.pause_s(0)
    assert restarts.pause_s(STEADY_S) == 0.0
    assert restarts.pause_s(0) == 0.25
