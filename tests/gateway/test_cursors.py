import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from gateway.cursors import decode, encode, limit_of
from gateway.errors import FieldsInvalidError
from tenancy.ids import TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


@given(st.text(max_size=60).map("JOB#{}".format))
def test_a_cursor_leads_its_tenant_back_to_the_key(after: str) -> None:
    assert decode(ACME, encode(ACME, after), "JOB#") == after


def test_the_end_of_a_list_has_no_cursor() -> None:
    assert encode(ACME, None) is None
    assert decode(ACME, None, "JOB#") is None


def test_a_cursor_is_bound_to_its_tenant() -> None:
    with pytest.raises(FieldsInvalidError):
        decode(GLOBEX, encode(ACME, "JOB#1"), "JOB#")


@given(st.text(max_size=80))
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(FieldsInvalidError):
        decode(ACME, text, "JOB#")


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(FieldsInvalidError):
        decode(ACME, encode(ACME, "INV#1"), "JOB#")


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "", "x", "٣", "99999999999"])
def test_a_limit_outside_its_range_is_refused(limit: str) -> None:
    with pytest.raises(FieldsInvalidError):
        limit_of(make_mocked_request("GET", f"/v1/jobs?limit={limit}"))


@pytest.mark.parametrize(("query", "limit"), [("", 20), ("?limit=1", 1), ("?limit=100", 100)])
def test_a_limit_in_its_range_is_taken(query: str, limit: int) -> None:
    assert limit_of(make_mocked_request("GET", f"/v1/jobs{query}")) == limit
