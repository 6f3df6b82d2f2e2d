"""`python -m tests.failover`: lose agents' region under load, fail over and back, and account for everything."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.failover.drill import Account, Fault, drill


def main() -> int:
    """Run one drill; 1 where anything is not accounted for."""
    parser = argparse.ArgumentParser(prog="make failover-drill")
    parser.add_argument("--fault", type=Fault, choices=list(Fault), default=Fault.KILLED)
    parser.add_argument("--seconds", type=float, default=30.0, help="of load, besides what the outage lasts")
    parser.add_argument("--streams", type=int, default=10, help="open at a time")
    parser.add_argument("--jobs", type=float, default=2.0, help="submitted a second")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockgate-failover-") as folder:
        account = asyncio.run(
            drill(
                Path(folder) / "state",
                chosen.fault,
                seconds=chosen.seconds,
                streams=chosen.streams,
                jobs_per_s=chosen.jobs,
            )
        )
    wrong = list(account.wrong())
    sys.stdout.write("\n".join([*_told(account), *(f"  ! {what}" for what in wrong)]) + "\n")
    return 1 if wrong else 0


def _told(account: Account) -> Iterator[str]:
    noted, jobs = account.noted, account.jobs
    ends = {" ".join(filter(None, end)): count for end, count in jobs.items()}
    yield "region failover: " + ("WRONG" if list(account.wrong()) else "EVERYTHING IS ACCOUNTED FOR")
    yield "  times    " + ", ".join(f"{what} in {seconds:.1f} s" for what, seconds in account.times.items())
    yield f"  streams  {noted.turns} turns, {noted.completed} completed; {_counts(noted.streams)}"
    yield f"  refused  before they began: {_counts(noted.refused)}"
    yield f"  jobs     {len(noted.jobs)} accepted, {len(account.lost)} lost; {_counts(ends)}"
    yield f"  usage    {len(account.ended)} ended, {sum(account.lines.values())} lines in the ledger"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1])) or "none"


if __name__ == "__main__":
    sys.exit(main())
