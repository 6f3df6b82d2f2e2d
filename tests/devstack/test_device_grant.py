"""The local identity provider's devices: who approves them, and what they are told until then."""

from datetime import timedelta
from pathlib import Path

import pytest

from ops.devstack.device_grant import LIFETIME_S, DeviceGrants, UserCodeInvalidError, decide
from tests.clock import FakeClock

PLACE = ("directory", "application")


def begun(devices: DeviceGrants) -> tuple[str, str]:
    begin = devices.begin(*PLACE)
    assert isinstance(begin, tuple)
    return begin


@pytest.fixture
def devices(tmp_path: Path, clock: FakeClock) -> DeviceGrants:
    return DeviceGrants(tmp_path, clock)


async def test_a_code_that_is_approved_is_good_once(devices: DeviceGrants, clock: FakeClock) -> None:
    device, user = begun(devices)
    answers = [devices.ask(*PLACE, device)]
    decide(devices.state, user.lower(), approved=True)
    answers.append(devices.ask(*PLACE, device))
    await clock.advance(1)
    answers += [devices.ask(*PLACE, device), devices.ask(*PLACE, device)]
    assert answers == ["authorization_pending", "slow_down", None, "invalid_grant"]


async def test_a_code_that_is_denied_is_good_for_nothing(devices: DeviceGrants) -> None:
    device, user = begun(devices)
    decide(devices.state, user, approved=False)
    assert [devices.ask(*PLACE, device), devices.ask(*PLACE, device)] == ["access_denied", "invalid_grant"]


async def test_a_code_lives_for_a_while(devices: DeviceGrants, clock: FakeClock) -> None:
    device, user = begun(devices)
    decide(devices.state, user, approved=True)
    await clock.advance(timedelta(seconds=LIFETIME_S).total_seconds())
    assert devices.ask(*PLACE, device) == "expired_token"
    begun(devices)
    assert devices.ask(*PLACE, device) == "invalid_grant"


@pytest.mark.parametrize("place", [("other", "application"), ("directory", "other")])
async def test_a_code_is_its_own_applications(devices: DeviceGrants, place: tuple[str, str]) -> None:
    device, user = begun(devices)
    decide(devices.state, user, approved=True)
    assert devices.ask(*place, device) == "invalid_grant"
    assert devices.ask(*PLACE, device) is None


@pytest.mark.parametrize("typed", ["", "../clients.json", "WDJB-MJHT/", "WDJBMJHT", "AEIO-AEIO"])
def test_what_is_no_code_is_written_nowhere(devices: DeviceGrants, typed: str) -> None:
    with pytest.raises(UserCodeInvalidError):
        decide(devices.state, typed, approved=True)
    assert list(devices.state.iterdir()) == []
