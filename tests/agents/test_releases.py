"""Where an agent version may go."""

import pytest

from agents.errors import ReleaseIllegalError
from agents.releases import NEXT, require_legal
from tenancy.data_models import ReleaseState

PATH = ["built", "deployed", "verified", "evaluated", "approved", "promoted", "rolled_back", "promoted"]


def test_every_state_says_what_may_follow() -> None:
    assert set(NEXT) == set(ReleaseState)


def test_the_way_to_promotion_has_no_short_cut() -> None:
    for place, state in enumerate(PATH[:-3]):
        ahead = [later for later in PATH[place + 1 :] if ReleaseState(later) in NEXT[ReleaseState(state)]]
        assert set(ahead) == {PATH[place + 1]}


@pytest.mark.parametrize("before", ReleaseState)
@pytest.mark.parametrize("after", ReleaseState)
def test_what_is_not_legal_is_refused_with_what_is(before: ReleaseState, after: ReleaseState) -> None:
    refused = None
    try:
        require_legal(before, after)
    except ReleaseIllegalError as error:
        refused = error
    assert (refused is None) == (after in NEXT[before])
    assert refused is None or (refused.state, refused.allowed) == (before, NEXT[before])


def test_disabling_is_always_possible_and_for_good() -> None:
    assert {state for state in ReleaseState if ReleaseState.DISABLED not in NEXT[state]} == {ReleaseState.DISABLED}
    assert NEXT[ReleaseState.DISABLED] == ()
