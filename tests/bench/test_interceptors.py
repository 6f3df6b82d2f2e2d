"""The benchmark of interceptors itself, too short to mean anything: it must not rot."""

import pytest

from tests.bench.interceptors import CASES, Extent, measured, running_bench, told

pytestmark = pytest.mark.stack


async def test_a_short_run_takes_every_figure_of_what_it_says(redis_url: str) -> None:
    extent = Extent(rounds=1, streams=2, events=20)
    async with running_bench(redis_url) as bench:
        figures = await measured(bench, extent)
    assert all(figures.event_us[case.name][0] > 0 for case in CASES)
    assert all(0 < opened < passed for opened, passed in figures.held_bytes.values())
    assert figures.matches == {case.name: 40 if case.redacted and "address" in case.name else 0 for case in CASES}
    table = told(figures, extent, 1.0)
    assert all(case.name in table for case in CASES)
