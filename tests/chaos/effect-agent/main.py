"""effect-agent: a job whose work is one effect outside, told to an oracle that counts it. For the fault harness."""

import asyncio
from dataclasses import dataclass
from urllib.request import Request, urlopen

from lockgate_kit import Agent, Job

# The oracle is never stopped; only a loaded machine makes it slow.
ORACLE_TIMEOUT_S = 60

agent = Agent()
app = agent.app


@dataclass(frozen=True)
class Wanted:
    """What one job is to do."""

    effects: str
    token: str
    duration_s: float
    fails: bool
    result_bytes: int


@agent.job
async def work(payload: object, job: Job) -> dict[str, str]:
    """Have the effect, work for `durationS`, then give `{"token": token, "pad": …}` or fail."""
    wanted = read(payload)
    await asyncio.to_thread(tell, wanted, job.ref or "")
    clock = asyncio.get_running_loop().time
    ends = clock() + wanted.duration_s
    while (left := ends - clock()) > 0:
        job.progress(100 * (1 - left / wanted.duration_s), "working")
        await asyncio.sleep(min(0.5, left))
    if wanted.fails:
        raise RuntimeError("failed as asked")
    return {"token": wanted.token, "pad": "x" * wanted.result_bytes}


def tell(wanted: Wanted, ref: str) -> None:
    """Tell the oracle that the job has had its effect."""
    request = Request(f"{wanted.effects}/{ref}", data=wanted.token.encode(), method="POST")  # noqa: S310 - loopback
    with urlopen(request, timeout=ORACLE_TIMEOUT_S) as answer:  # noqa: S310 - loopback
        answer.read()


def read(payload: object) -> Wanted:
    """Read an input; raises ValueError for one that the harness did not write."""
    if not isinstance(payload, dict):
        raise ValueError("the input is not an object")  # noqa: TRY004 - an input, not a type of ours
    return Wanted(
        effects=str(payload["effects"]),
        token=str(payload["token"]),
        duration_s=float(payload["durationS"]),
        fails=bool(payload.get("fails")),
        result_bytes=int(payload.get("resultBytes", 0)),
    )


if __name__ == "__main__":
    agent.run()
