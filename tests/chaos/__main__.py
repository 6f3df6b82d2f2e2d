"""`python -m tests.chaos`: break a whole stack as a seed says, and judge what is left."""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos.harness import Verdict, run
from tests.chaos.report import told


async def _run(seed: int, jobs: int, seconds: float, state: Path) -> Verdict:
    return await run(seed, jobs=jobs, seconds=seconds, state=state)


def main() -> int:
    """Run one seed; 1 where an invariant does not hold, and then its logs are kept."""
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--seed", type=int, default=None, help="what to do to the stack; random unless given")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=120.0)
    chosen = parser.parse_args()
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    with tempfile.TemporaryDirectory(prefix="lockgate-chaos-") as folder:
        state = Path(folder) / "state"
        verdict = asyncio.run(_run(seed, chosen.jobs, chosen.seconds, state))
        sys.stdout.write(told(verdict))
        if verdict.wrong:
            kept = Path(tempfile.mkdtemp(prefix="lockgate-chaos-logs-"))
            for log in (state / "log").iterdir():
                log.rename(kept / log.name)
            sys.stdout.write(f"  logs        {kept}\n")
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
