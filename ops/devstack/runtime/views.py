"""The control plane's answers: what AWS's service model calls the output shapes."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ops.devstack.runtime.registry import Endpoint, Runtime, Version

View = Mapping[str, object]


def runtime_change(runtime: Runtime, version: Version) -> View:
    """Output of CreateAgentRuntime and UpdateAgentRuntime."""
    return {
        "agentRuntimeArn": str(runtime.arn),
        "agentRuntimeId": runtime.id,
        "agentRuntimeVersion": str(version.number),
        "createdAt": _time(runtime.created_at),
        "lastUpdatedAt": _time(runtime.updated_at),
        "status": runtime.status,
        "workloadIdentityDetails": {"workloadIdentityArn": runtime.arn.workload_identity()},
    }


def runtime_detail(runtime: Runtime, version: Version) -> View:
    """Output of GetAgentRuntime: the version's description as it was given, and what became of it."""
    return _given(
        {
            **version.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
            **runtime_change(runtime, version),
            "agentRuntimeName": runtime.name,
            "failureReason": runtime.failure,
        }
    )


def runtime_summary(runtime: Runtime, version: Version) -> View:
    """Return one row of ListAgentRuntimes and ListAgentRuntimeVersions."""
    return {
        "agentRuntimeArn": str(runtime.arn),
        "agentRuntimeId": runtime.id,
        "agentRuntimeName": runtime.name,
        "agentRuntimeVersion": str(version.number),
        "description": version.spec.description or "",
        "lastUpdatedAt": _time(runtime.updated_at if version is runtime.newest else version.created_at),
        "status": runtime.status if version is runtime.newest else "READY",
    }


def endpoint_change(runtime: Runtime, endpoint: Endpoint) -> View:
    """Output of CreateAgentRuntimeEndpoint and UpdateAgentRuntimeEndpoint."""
    return {**endpoint_detail(runtime, endpoint), "agentRuntimeId": runtime.id, "endpointName": endpoint.name}


def endpoint_detail(runtime: Runtime, endpoint: Endpoint) -> View:
    """Output of GetAgentRuntimeEndpoint, and one row of the list."""
    return _given(
        {
            "agentRuntimeArn": str(runtime.arn),
            "agentRuntimeEndpointArn": runtime.arn.endpoint(endpoint.name),
            "createdAt": _time(endpoint.created_at),
            "description": endpoint.description,
            "failureReason": endpoint.failure,
            "id": endpoint.id,
            "lastUpdatedAt": _time(endpoint.updated_at),
            "liveVersion": None if endpoint.live is None else str(endpoint.live),
            "name": endpoint.name,
            "status": endpoint.status,
            "targetVersion": str(endpoint.target),
        }
    )


def _given(fields: View) -> View:
    return {name: value for name, value in fields.items() if value is not None}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
