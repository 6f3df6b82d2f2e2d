"""Every setting of a deployment, read once from `LOCKGATE_*`; nothing else reads the environment.

AWS credentials, regions and endpoints follow the SDK's own variables (`AWS_ENDPOINT_URL_*`).
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from webhooks.urls import parse_allow


class Settings(BaseSettings):
    """One deployment's settings; `.env.example` lists them all."""

    model_config = SettingsConfigDict(env_prefix="LOCKGATE_", frozen=True, extra="ignore")

    environment: Literal["local", "dev", "staging", "prod"] = Field("prod", description="which deployment this is")
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="ElastiCache, cluster mode off")
    table_prefix: str = Field("lockgate-", description="begins the name of every DynamoDB table")
    bucket: str = Field("lockgate-data", description="holds large inputs and results, under tenants/{tenantId}/")
    home_region: str = Field("eu-west-2", description="where DynamoDB and S3 are")
    runtime_region: str = Field("eu-west-1", description="where AgentCore runs agents")
    runtime_sessions: int = Field(
        2500, ge=1, description="AgentCore's quota of active sessions there; operators are told how near it is"
    )
    failover_region: str = Field("eu-central-1", description="where AgentCore runs agents when that region is down")
    authority: str = Field("https://login.microsoftonline.com", description="the identity provider's base URL")
    authority_directory: str = Field("common", description="the directory whose key set signs tokens")
    audience: str = Field("api://lockgate", description="the exact `aud` of accepted tokens")
    cors_origins: frozenset[str] = Field(frozenset(), description="browser origins that may call the API, as JSON")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severity logged")
    sync_timeout_s: int = Field(900, ge=1, le=900, description="longest sync invocation")
    stream_timeout_s: int = Field(3600, ge=1, le=3600, description="longest streamed invocation")
    job_timeout_s: int = Field(28_200, ge=1, le=28_800, description="longest job, within the microVM's 8 h")
    job_poll_s: float = Field(5.0, gt=0, description="seconds between two looks at a running job")
    erase_quiet_s: float = Field(
        60.0, ge=0, description="shortest time between a tenant's deletion and the begin of its erasure"
    )
    drain_grace_s: float = Field(
        110.0, ge=0, le=110, description="seconds that open work gets once a gateway has to end; Fargate allows 120"
    )
    max_connections: int = Field(
        10_000, ge=1, description="open connections of a gateway process, if the system grants two descriptors for each"
    )
    max_requests: int = Field(10_000, ge=1, description="requests served at once by a gateway process, streams counted")
    max_loop_lag_s: float = Field(1.0, gt=0, description="how late a process may be before it sheds new requests")
    public_url: str = Field(
        "http://127.0.0.1:8080",
        pattern=r"^https?://[^/]+(/[^/]+)*$",
        description="where agents and tools reach this API; the issuer of tool tokens",
    )
    tool_token_keys: SecretStr = Field(
        SecretStr(""),
        description="sign tool tokens, the first one: P-256 in PKCS#8 DER as base64, commas between; none: no tokens",
    )
    heartbeat_s: float = Field(15.0, gt=0, le=15, description="longest silence on an event stream")
    webhook_allow: str = Field(
        "", description="local and dev only: receivers beside the public ones, host:port, separated by commas"
    )
    agentcore_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_ENDPOINT_URL_BEDROCK_AGENTCORE"),
        description="AgentCore's data plane; AWS's own where unset",
    )

    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^/]+(/[^/]+)*$",
        description="an OpenTelemetry collector's base URL, such as http://127.0.0.1:4318; without one no spans",
    )
    failover_endpoint: str | None = Field(
        None, description="AgentCore's data plane in the failover region; AWS's own where unset"
    )

    @field_validator("webhook_allow")
    @classmethod
    def _only_where_developed(cls, value: str, info: ValidationInfo) -> str:
        # Whoever may send into the deployment's own network may do more than webhooks are for.
        if parse_allow(value) and info.data.get("environment") not in {"local", "dev"}:
            raise ValueError("webhooks go to public addresses only outside local and dev")
        return value

    lambda_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_ENDPOINT_URL_LAMBDA"),
        description="Lambda's API, for tools that are functions; AWS's own where unset",
    )

    @property
    def agentcore_url(self) -> str:
        """AgentCore's data plane, without a trailing slash."""
        return _data_plane(self.agentcore_endpoint, self.runtime_region)

    @property
    def failover_url(self) -> str:
        """AgentCore's data plane in the failover region, without a trailing slash."""
        return _data_plane(self.failover_endpoint, self.failover_region)


def _data_plane(endpoint: str | None, region: str) -> str:
    return (endpoint or f"https://bedrock-agentcore.{region}.amazonaws.com").rstrip("/")


class OperatorSettings(BaseSettings):
    """Where and as whom an operator's command acts; on the dev stack both are known."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    environment: str = Field("local", validation_alias="ENV", description="local is the running dev stack")
    gateway: str | None = Field(None, validation_alias="LOCKGATE_GATEWAY", description="the public API's base URL")
    token: SecretStr | None = Field(
        None, validation_alias="LOCKGATE_TOKEN", description="an access token with the platform's roles"
    )
    authority: str = Field(
        "https://login.microsoftonline.com",
        validation_alias="LOCKGATE_AUTHORITY",
        pattern=r"^(https://[^/]+|http://(127\.0\.0\.1|localhost)(:\d+)?)$",
        description="the identity provider's base URL",
    )
    directory: str | None = Field(
        None,
        validation_alias="LOCKGATE_DIRECTORY",
        description="the directory operators sign in to: a tenant id of Entra",
    )
    client_id: str | None = Field(
        None, validation_alias="LOCKGATE_CLIENT_ID", description="the application operators sign in with"
    )
    client_secret: SecretStr | None = Field(
        None,
        validation_alias="LOCKGATE_CLIENT_SECRET",
        description="that application's secret, where no person signs in: a pipeline",
    )
    audience: str = Field(
        "api://lockgate", validation_alias="LOCKGATE_AUDIENCE", description="the API that tokens are asked for"
    )
    state: Path | None = Field(
        None, validation_alias="LOCKGATE_DEV_STATE", description="the stack's state; .lockgate in the checkout if unset"
    )
    state_home: Path = Field(
        Path("~/.local/state"), validation_alias="XDG_STATE_HOME", description="what is kept of sign-ins is below it"
    )


class DevSettings(BaseSettings):
    """What `lockgate dev` takes from the environment; its children get what it passes on and nothing else."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    port_offset: int = Field(
        0, ge=0, le=57_000, validation_alias="PORT_OFFSET", description="added to every port of the stack"
    )
    state: Path | None = Field(
        None, validation_alias="LOCKGATE_DEV_STATE", description="the stack's state; .lockgate in the checkout if unset"
    )
    webhook_allow: str = Field(
        "", validation_alias="LOCKGATE_WEBHOOK_ALLOW", description="more receivers, host:port, separated by commas"
    )

    @property
    def inherited(self) -> dict[str, str]:
        """The variables any program needs to run at all."""
        return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
