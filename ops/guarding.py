"""What jobs' answers pass before they are stored: the interceptors of the request path, for the tenant as it stands."""

from gateway.interceptors.bound import Interceptors
from gateway.interceptors.chain import REDACT
from gateway.interceptors.errors import InterceptorFailedError, RedactionBlockedError
from gateway.problems import problem_of
from jobs.guarded import GuardAnswer
from tenancy.data_models import Failure, JobRecord
from tenancy.errors import TenantUnknownError
from tenancy.registry import TenantRegistry


def job_guard(interceptors: Interceptors, tenants: TenantRegistry) -> GuardAnswer:
    """Return what a worker holds its agents' answers to."""

    async def guard(job: JobRecord, answer: bytes) -> bytes | Failure:
        try:
            tenant = await tenants.get(job.tenant_id)
            chain = await interceptors.answers(tenant, job.agent, job.job_id)
            return answer if chain is None else await chain.answered(answer)
        except TenantUnknownError:
            return _failure(InterceptorFailedError(REDACT))
        except (RedactionBlockedError, InterceptorFailedError) as refused:
            return _failure(refused)

    return guard


def _failure(refused: RedactionBlockedError | InterceptorFailedError) -> Failure:
    problem = problem_of(refused)
    return Failure(code=problem.code, detail=problem.detail)
