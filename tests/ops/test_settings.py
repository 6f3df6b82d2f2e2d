"""What a deployment's settings refuse."""

from typing import Literal

import pytest
from pydantic import ValidationError

from ops.settings import Settings


@pytest.mark.parametrize("environment", ["local", "dev"])
def test_where_lockgate_is_developed_webhooks_may_be_let_reach_more(environment: Literal["local", "dev"]) -> None:
    allowed = Settings(environment=environment, webhook_allow="127.0.0.1:8093,127.0.0.1:9999")
    assert allowed.webhook_allow == "127.0.0.1:8093,127.0.0.1:9999"


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_elsewhere_webhooks_reach_public_addresses_only(environment: Literal["staging", "prod"]) -> None:
    with pytest.raises(ValidationError, match="public addresses only"):
        Settings(environment=environment, webhook_allow="127.0.0.1:8093")


def test_receivers_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(ValidationError, match="host:port"):
        Settings(environment="local", webhook_allow="127.0.0.1")
