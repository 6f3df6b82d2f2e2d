"""What an agent says about its job passes its tenant's policy before any of it is stored.

The policy is injected: jobs know only that an answer comes back as it may be kept, or why it is withheld. A progress
message that may not be shown is left out; a result that may not be shown fails its job.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

import orjson

from jobs.poll import Busy, Ended, Finding
from tenancy.data_models import Failure, JobRecord, Progress, Status

_MESSAGE_MAX = 1000
GuardAnswer: TypeAlias = Callable[[JobRecord, bytes], Awaitable[bytes | Failure]]
"""(job, JSON of its agent) -> the JSON as it may be kept, or why it is withheld. Raises StoreUnavailableError."""


async def unguarded(_job: JobRecord, answer: bytes) -> bytes | Failure:
    """Let every answer pass."""
    return answer


async def guarded(guard: GuardAnswer, job: JobRecord, finding: Finding) -> Finding:
    """Return what was found as it may be kept."""
    match finding:
        case Busy(progress=Progress() as progress):
            return replace(finding, progress=await _shown(guard, job, progress))
        case Ended(progress=progress, result=result):
            if progress is not None:
                finding = replace(finding, progress=await _shown(guard, job, progress))
            if result is None:
                return finding
            kept = await guard(job, result)
            if isinstance(kept, Failure):
                return replace(finding, status=Status.FAILED, error=kept, result=None)
            return replace(finding, result=kept)
        case _:
            return finding


async def _shown(guard: GuardAnswer, job: JobRecord, progress: Progress) -> Progress:
    if progress.message is None or (job.progress is not None and progress.message == job.progress.message):
        return progress
    kept = await guard(job, orjson.dumps(progress.message))
    message = None if isinstance(kept, Failure) else str(orjson.loads(kept))[:_MESSAGE_MAX]
    return progress.model_copy(update={"message": message})
