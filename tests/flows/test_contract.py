"""The running gateway against its own description: what is valid is taken, what is not is refused, and every answer
is one the description names, down to its headers.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from aiohttp import ClientSession
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

from gateway.admin.paths import TENANT
from gateway.app import operations
from gateway.openapi.document import document
from gateway.operations import INVOCATION, JOB
from gateway.routes.deliveries import DELIVERY
from gateway.routes.webhooks import WEBHOOK
from ops.devstack.stack import Stack
from tenancy.ids import TenantId
from tests.flows.conftest import ECHO

pytestmark = pytest.mark.stack

EXAMPLES = 20
# What echo-agent does with an input it was not made for is its own fault, and described.
AGENTS_FAULT = "agent_error"
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "411", "413", "414", "415", "422", "431"]
TAKEN = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]
# What no schema can say, so that a value that fits may be refused: what was handed out before, what another header
# or a setting allows, how many bytes something has, what a name resolves to, what comes after what.
UNSAID = {
    "cursor",
    "Idempotency-Key",
    "Last-Event-ID",
    "startingAfter",
    "/sessionId",
    "/webhookId",
    "/metadata",
    "/issuer",
    "/bindings/0/issuer",
    "/url",
    "/since",
    "/until",
}

CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "502"]},
            "negative_data_rejection": {"expected-statuses": REFUSED},
            "positive_data_acceptance": {"expected-statuses": TAKEN},
        }
    }
)
description = schemathesis.openapi.from_dict(document(operations()), config=CONFIG)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The stack, and what there is in it of each kind that the description's examples name."""

    stack: Stack
    real: Mapping[object, str]
    # What may be deleted; the others are still needed.
    spare: Mapping[object, str]

    def named(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
        """Return the path's parameters, with what there is in place of the examples."""
        real = {**self.real, **self.spare} if case.method == "DELETE" else self.real
        return {name: real.get(value, value) for name, value in (case.path_parameters or {}).items()}

    def token(self, case: schemathesis.Case[Any]) -> str:
        """Return the token of who may call the operation."""
        operators = {"operatorToken": []} in case.operation.definition.raw["security"]
        return (self.stack.operator if operators else self.stack.tenants[TenantId("acme")]).token


@pytest.fixture(scope="module")
def prepared(stack: Stack) -> Iterator[Prepared]:
    """Have an invocation, a job, a webhook, and a tenant that operators may do with as they like."""
    with asyncio.Runner() as runner:
        yield runner.run(_prepare(stack))
        runner.run(_tidy(stack))


async def _prepare(stack: Stack) -> Prepared:
    invoking = {"Authorization": f"Bearer {stack.tenants[TenantId('acme')].token}"}
    operating = {"Authorization": f"Bearer {stack.operator.token}"}
    subject = {"id": "contract-subject", "name": "Contract", "tier": "basic"}
    async with ClientSession(stack.gateway, raise_for_status=True) as client:
        sync = await client.post(ECHO, json={"input": {"prompt": "x"}}, headers=invoking)
        job = await client.post(ECHO, json={"input": {"prompt": "x"}}, headers=invoking | {"Prefer": "respond-async"})
        await client.post("/v1/admin/tenants", json=subject, headers=operating)
        hook = {"url": f"{stack.ports.url('receiver')}/hooks/contract"}
        one, other = [await client.post("/v1/webhooks", json=hook, headers=invoking) for _ in range(2)]
        tested = await client.post(f"{one.headers['Location']}/test", headers=invoking)
        real: dict[object, str] = {
            INVOCATION.example: sync.headers["X-Invocation-Id"],
            JOB.example: (await job.json())["jobId"],
            TENANT.example: subject["id"],
            WEBHOOK.example: (await one.json())["id"],
            DELIVERY.example: (await tested.json())["id"],
        }
        return Prepared(stack, real, {WEBHOOK.example: (await other.json())["id"]})


async def _tidy(stack: Stack) -> None:
    """Delete every webhook but the seeded one: a tenant may have only so many."""
    headers = {"Authorization": f"Bearer {stack.tenants[TenantId('acme')].token}"}
    async with ClientSession(stack.gateway, raise_for_status=True, headers=headers) as client:
        listed = await client.get("/v1/webhooks?limit=100")
        for hook in (await listed.json())["items"]:
            if not hook["url"].endswith("/hooks/acme"):
                await client.delete(f"/v1/webhooks/{hook['id']}")


@description.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_gateway_keeps_its_description(case: schemathesis.Case[Any], prepared: Prepared) -> None:
    case.path_parameters = prepared.named(case)
    headers = {"Authorization": f"Bearer {prepared.token(case)}"}
    response = case.call_and_validate(base_url=prepared.stack.gateway, headers=headers)
    if response.status_code >= 500:
        assert response.json()["code"] == AGENTS_FAULT
    if response.status_code == 422 and case.meta is not None and case.meta.generation.mode.is_positive:
        assert {fault["pointer"] for fault in response.json()["errors"]} <= UNSAID
