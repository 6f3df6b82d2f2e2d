"""What jobs' answers pass before they are stored: the interceptors of the request path, for the tenant as it stands."""

from typing import Protocol

from gateway.interceptors.bound import Interceptors
from gateway.interceptors.chain import REDACT
from gateway.interceptors.errors import InterceptorFailedError, RedactionBlockedError
from gateway.problems import problem_of
from jobs.guarded import GuardAnswer
from tenancy.data_models import Failure, JobRecord, Tenant
from tenancy.errors import TenantUnknownError
from tenancy.ids import TenantId


class Tenants(Protocol):
    """Knows tenants as they stand."""

    async def get(self, tenant_id: TenantId) -> Tenant:
        """Return a tenant; raises TenantUnknownError, StoreUnavailableError."""
        ...


def job_guard(interceptors: Interceptors, tenants: Tenants) -> GuardAnswer:
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
