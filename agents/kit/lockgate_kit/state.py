"""How work stands, as the JSON that answers start, status and stop.

`result` comes last, spliced in as the text it was encoded to: what the agent answered reaches the tenant byte for byte.
"""

import json
from typing import Literal

from lockgate_kit.turn import MESSAGE_LIMIT, Job
from lockgate_kit.work import StoppedError, Work

TYPE_LIMIT = 100

State = Literal["running", "succeeded", "failed", "cancelled", "unknown"]


def state_json(boot_id: str, ref: str, work: Work | None, ping: str, *, stopped_before: bool) -> str:
    """Return the state of `work`; without any, "cancelled" if it was stopped before it came, else "unknown"."""
    if work is None:
        return _text(boot_id, ref, "cancelled" if stopped_before else "unknown", ping)
    state, error = _standing(work)
    result = work.outcome.result() if state == "succeeded" and isinstance(work.turn, Job) else "null"
    return _text(boot_id, ref, state, ping, work=work, error=error, result=result)


def _standing(work: Work) -> tuple[State, BaseException | None]:
    if not work.outcome.done():
        return "running", None
    error = work.outcome.exception()
    if error is None:
        return "succeeded", None
    return ("cancelled", None) if isinstance(error, StoppedError) else ("failed", error)


def _text(
    boot_id: str,
    ref: str,
    state: State,
    ping: str,
    *,
    work: Work | None = None,
    error: BaseException | None = None,
    result: str = "null",
) -> str:
    head = {
        "bootId": boot_id,
        "ref": ref,
        "state": state,
        "ping": ping,
        "progress": _progress(work),
        "error": None if error is None else _error(error),
        "usage": _usage(work),
    }
    return json.dumps(head, ensure_ascii=False)[:-1] + f', "result": {result}}}'


def _progress(work: Work | None) -> dict[str, int | str] | None:
    reached = work.turn.reached if work is not None and isinstance(work.turn, Job) else None
    if reached is None:
        return None
    told = {} if reached.message is None else {"message": reached.message}
    return {"percent": reached.percent, **told}


def _error(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__[:TYPE_LIMIT], "message": str(error)[:MESSAGE_LIMIT]}


def _usage(work: Work | None) -> dict[str, int] | None:
    used = None if work is None else work.turn.used
    if used is None:
        return None
    return {"inputTokens": used.input_tokens, "outputTokens": used.output_tokens}
