"""What a caller says about a runtime: the control plane's input, with the patterns of AWS's service model.

Fields AWS has and this runtime does nothing with are kept and given back, not refused.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from ops.devstack.runtime.headers import may_be_forwarded

_DEFAULT_IDLE_S = 900
_DEFAULT_LIFETIME_S = 28_800

RoleArn = Annotated[str, StringConstraints(max_length=2048, pattern=r"^arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+$")]
VariableName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
VariableValue = Annotated[str, StringConstraints(max_length=5000)]
RuntimeName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,47}$")]
EndpointName = RuntimeName
VersionText = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}$")]
ClientToken = Annotated[
    str, StringConstraints(min_length=33, max_length=256, pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,256}$")
]
SessionSeconds = Annotated[int, Field(ge=60, le=28_800)]


class Wire(BaseModel):
    """A JSON object in AWS's camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True, populate_by_name=True)


class S3Location(Wire):
    """Where the code is; here bucket `local` and a folder below the code root."""

    bucket: str
    prefix: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Code(Wire):
    """The union of places code can come from."""

    s3: S3Location


class CodeConfiguration(Wire):
    """Code that AgentCore runs on its own image."""

    code: Code
    runtime: str = "PYTHON_3_11"
    entry_point: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Field(min_length=1, max_length=2)
    ]


class ContainerConfiguration(Wire):
    """An image."""

    container_uri: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Artifact(Wire):
    """Exactly one of code and container."""

    code_configuration: CodeConfiguration | None = None
    container_configuration: ContainerConfiguration | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.code_configuration is None) == (self.container_configuration is None):
            raise ValueError("exactly one of codeConfiguration and containerConfiguration must be given")
        return self


class NetworkConfiguration(Wire):
    """Kept, not applied: a local agent has the machine's own network."""

    network_mode: Literal["PUBLIC", "VPC"]


class JwtAuthorizer(Wire):
    """Which bearer tokens may invoke the runtime."""

    discovery_url: Annotated[str, StringConstraints(pattern=r"^.+/\.well-known/openid-configuration$")]
    allowed_audience: list[str] | None = None
    allowed_clients: list[str] | None = None
    allowed_scopes: list[str] | None = None


class AuthorizerConfiguration(Wire):
    """The union of authorizers."""

    jwt: Annotated[JwtAuthorizer, Field(alias="customJWTAuthorizer")]


class RequestHeaderConfiguration(Wire):
    """Which extra request headers reach the agent."""

    request_header_allowlist: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=256)]], Field(min_length=1, max_length=20)
    ]

    @model_validator(mode="after")
    def _forwardable(self) -> Self:
        for name in self.request_header_allowlist:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not may_be_forwarded(name):
                raise ValueError(f"{name} is a restricted header")
        return self


class LifecycleConfiguration(Wire):
    """How long a session may be idle, and live at all."""

    idle_s: Annotated[SessionSeconds, Field(alias="idleRuntimeSessionTimeout")]
    lifetime_s: Annotated[SessionSeconds, Field(alias="maxLifetime")]

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        lifetime = given.get("maxLifetime", _DEFAULT_LIFETIME_S)
        idle = min(_DEFAULT_IDLE_S, lifetime) if isinstance(lifetime, int) else _DEFAULT_IDLE_S
        return {"maxLifetime": lifetime, "idleRuntimeSessionTimeout": idle} | given

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.idle_s > self.lifetime_s:
            raise ValueError("idleRuntimeSessionTimeout must not exceed maxLifetime")
        return self


class ProtocolConfiguration(Wire):
    """Which protocol the agent speaks; only HTTP is served here."""

    server_protocol: Literal["HTTP", "MCP", "A2A", "AGUI"]


class RuntimeSpec(Wire):
    """One immutable version of a runtime, as its owner described it."""

    agent_runtime_artifact: Artifact
    role_arn: RoleArn
    network_configuration: NetworkConfiguration
    description: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    authorizer_configuration: AuthorizerConfiguration | None = None
    request_header_configuration: RequestHeaderConfiguration | None = None
    protocol_configuration: ProtocolConfiguration | None = None
    lifecycle_configuration: LifecycleConfiguration = Field(
        default_factory=lambda: LifecycleConfiguration.model_validate({})
    )
    environment_variables: Annotated[dict[VariableName, VariableValue], Field(max_length=50)] = {}

    @model_validator(mode="after")
    def _authorization_needs_jwt(self) -> Self:
        named = self.request_header_configuration.request_header_allowlist if self.request_header_configuration else []
        if self.authorizer_configuration is None and any(name.lower() == "authorization" for name in named):
            raise ValueError("Authorization may be forwarded only with a customJWTAuthorizer")
        return self

    @property
    def allowlist(self) -> frozenset[str]:
        """Names of the extra request headers that reach the agent, in lower case."""
        if self.request_header_configuration is None:
            return frozenset()
        return frozenset(name.lower() for name in self.request_header_configuration.request_header_allowlist)


class CreateRuntime(RuntimeSpec):
    """Input of CreateAgentRuntime."""

    agent_runtime_name: RuntimeName
    client_token: ClientToken | None = None
    tags: dict[str, str] = {}


class UpdateRuntime(RuntimeSpec):
    """Input of UpdateAgentRuntime: the whole description again."""

    client_token: ClientToken | None = None


class CreateEndpoint(Wire):
    """Input of CreateAgentRuntimeEndpoint."""

    name: EndpointName
    agent_runtime_version: VersionText | None = None
    description: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    client_token: ClientToken | None = None


class UpdateEndpoint(Wire):
    """Input of UpdateAgentRuntimeEndpoint."""

    agent_runtime_version: VersionText | None = None
    description: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    client_token: ClientToken | None = None
