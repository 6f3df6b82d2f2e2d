"""The running gateway against its own description: what is valid is taken, what is not is refused, and every answer
is one the description names, down to its headers.
"""

import asyncio
from typing import Any

import pytest
import schemathesis
from aiohttp import ClientSession
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

from gateway.app import operations
from gateway.openapi.document import document
from ops.devstack.stack import Stack
from tenancy.ids import TenantId

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]

EXAMPLES = 20
# The tenant that operators' requests act on: what they do to it harms no other test.
SUBJECT = "contract-subject"
SEEDED = {"acme", "globex"}
# What echo-agent does with an input it was not made for is its own fault, and described.
AGENTS_FAULT = "agent_error"
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "411", "413", "414", "415", "422", "431"]
TAKEN = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]
# What no schema can say, so that a value that fits may be refused: what was handed out before, what another header
# or a setting allows, how many bytes something has.
UNSAID = {"cursor", "/sessionId", "/webhookId", "/metadata", "/issuer", "/bindings/0/issuer"}

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


@pytest.fixture(scope="module")
def subject(stack: Stack) -> Stack:
    """Have a tenant of the operators' own."""

    async def create() -> None:
        body = {"id": SUBJECT, "name": "Contract", "tier": "basic"}
        headers = {"Authorization": f"Bearer {stack.operator.token}"}
        async with (
            ClientSession(headers=headers) as operator,
            operator.post(f"{stack.gateway}/v1/admin/tenants", json=body) as answer,
        ):
            assert answer.status == 201, await answer.text()

    with asyncio.Runner() as runner:
        runner.run(create())
    return stack


@description.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_gateway_keeps_its_description(case: schemathesis.Case[Any], subject: Stack) -> None:
    operators = {"operatorToken": []} in case.operation.definition.raw["security"]
    token = (subject.operator if operators else subject.tenants[TenantId("acme")]).token
    if operators and case.path_parameters.get("tenant") in SEEDED:
        case.path_parameters["tenant"] = SUBJECT
    response = case.call_and_validate(base_url=subject.gateway, headers={"Authorization": f"Bearer {token}"})
    if response.status_code >= 500:
        assert response.json()["code"] == AGENTS_FAULT
    if response.status_code == 422 and case.meta is not None and case.meta.generation.mode.is_positive:
        assert {fault["pointer"] for fault in response.json()["errors"]} <= UNSAID
