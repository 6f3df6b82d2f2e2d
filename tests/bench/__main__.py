"""`python -m tests.bench`: Lockgate with everything on beside proxies with nothing on, in the same run.

`--json` writes the result as JSON; `--profile FILE` runs Lockgate under cProfile, which spoils its figures.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import orjson

from tests.bench.report import table
from tests.bench.rounds import Extent, Result, run
from tests.bench.targets import running_bench


async def measure(extent: Extent, profile: Path | None = None) -> Result:
    """Start everything, measure, end everything."""
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        async with running_bench(Path(folder), profile=profile) as bench:
            return await run(bench, extent)


def main() -> int:
    """Run the benchmark; 1 where anything answered with an error."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", type=Path)
    chosen = parser.parse_args()
    extent = Extent(chosen.rounds, chosen.seconds)
    result = asyncio.run(measure(extent, chosen.profile))
    if chosen.json:
        sys.stdout.buffer.write(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        sys.stdout.write(table(result, extent))
    return 1 if any(result.errors.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
