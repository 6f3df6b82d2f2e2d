"""What an invocation costs: exact, in integers, rounded up once."""

from hypothesis import given
from hypothesis import strategies as st

from tenancy.prices import FREE, Price, tokens_in

RATES = st.integers(0, 10**6)
AMOUNTS = st.integers(0, 10**9)


def test_tokens_and_time_are_charged_by_the_thousandth_and_rounded_up_once() -> None:
    price = Price(invocation_microusd=100, input_1k_microusd=1, output_1k_microusd=1, runtime_s_microusd=1)

    assert price.cost(0, 0, 0) == 100
    assert price.cost(1, 1, 1) == 101
    assert price.cost(500, 300, 200) == 101
    assert price.cost(500, 300, 201) == 102


def test_what_has_no_price_is_free() -> None:
    assert FREE.cost(10**9, 10**9, 10**9) == 0


@given(RATES, RATES, RATES, AMOUNTS, AMOUNTS, AMOUNTS)
def test_the_cost_is_less_than_a_micro_dollar_above_the_exact_one(
    read: int, written: int, second: int, tokens_read: int, tokens_written: int, ran_ms: int
) -> None:
    price = Price(input_1k_microusd=read, output_1k_microusd=written, runtime_s_microusd=second)
    exact_thousandths = tokens_read * read + tokens_written * written + ran_ms * second

    assert 0 <= price.cost(tokens_read, tokens_written, ran_ms) * 1000 - exact_thousandths < 1000


@given(AMOUNTS)
def test_a_token_is_taken_for_four_bytes_begun(size: int) -> None:
    assert tokens_in(size) * 4 - 4 < size <= tokens_in(size) * 4
