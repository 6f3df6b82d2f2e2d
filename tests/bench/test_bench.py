"""The benchmark itself, too short to mean anything: it must not rot."""

import asyncio
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.bench import crowd
from tests.bench.cost import cpu_s, rss_bytes
from tests.bench.report import table
from tests.bench.rounds import BASELINE, Extent, run
from tests.bench.targets import running_bench
from tests.bench.wire import MARK, event

pytestmark = pytest.mark.stack

EXTENT = Extent(rounds=1, seconds=0.2, callers=4, streams=5, open_streams=20, firsts=3)


async def test_a_short_run_measures_every_figure_without_an_error(tmp_path: Path) -> None:
    async with running_bench(tmp_path, loops=["asyncio"]) as bench:
        result = await run(bench, EXTENT)
    assert {name: errors for name, errors in result.errors.items() if errors} == {}
    assert {"lockgate", BASELINE} <= result.errors.keys()
    assert [name for name in result.figures if result.figures[name].keys() != result.errors.keys()] == []
    assert all(figure.median > 0 for figure in result.figures["unary requests / s reached"].values())
    told = table(result, EXTENT)
    assert all(name in told for name in (*result.figures, *result.errors))
    assert orjson.loads(orjson.dumps(result))["errors"] == {name: [] for name in result.errors}


async def test_a_small_crowd_ends_whole_though_one_of_it_reads_nothing(tmp_path: Path) -> None:
    extent = crowd.Extent(streams=10, seconds=1.0, events_per_s=10.0, slow_per_s=2000.0)
    async with running_bench(tmp_path, loops=[]) as bench:
        outcome = await crowd.crowd(bench, extent)
    assert outcome.errors == ()
    assert outcome.events == 10 * 10 + 2000
    assert all(f"{moment} " in crowd.told(outcome, extent) for moment in outcome.rss_bytes)


def test_an_event_is_json_and_is_marked_once() -> None:
    data = event(12)
    assert orjson.loads(data)["index"] == 12
    assert data.count(MARK) == 1


async def test_the_cost_of_a_process_is_that_of_all_it_started(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    starts = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy!r}])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", starts, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    assert cpu_s(process.pid) >= 0.3
    # An interpreter alone has some MiB.
    assert rss_bytes(process.pid) > 1_000_000
    await process.communicate(b"\n")
