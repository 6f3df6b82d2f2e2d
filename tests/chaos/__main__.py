"""`python -m tests.chaos`: break a whole stack as a seed says, and judge what is left."""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.harness import run
from tests.chaos.report import told


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
        try:
            verdict = asyncio.run(run(seed, jobs=chosen.jobs, seconds=chosen.seconds, state=state))
        except BaseException:
            _keep(state)
            raise
        sys.stdout.write(told(verdict))
        if verdict.wrong:
            _keep(state)
    return 1 if verdict.wrong else 0


def _keep(state: Path) -> None:
    """Put the processes' logs where they outlive the run."""
    kept = Path(tempfile.mkdtemp(prefix="lockgate-chaos-logs-"))
    for log in (state / "log").glob("*"):
        shutil.move(log, kept / log.name)
    sys.stdout.write(f"  logs        {kept}\n")


if __name__ == "__main__":
    sys.exit(main())
