"""The variables of the running stack: what its gateway and worker get, and what dev.env lets one more process have."""

from collections.abc import Mapping
from typing import Final

from ops.devstack.layout import DevKeys
from ops.devstack.ports import HOST, Ports

# One region locally: the embedded store keeps regions apart, as AWS does.
REGION: Final = "eu-west-1"
# A second one for agents alone, on ports of its own, so that the first can be taken away.
FAILOVER_REGION: Final = "eu-central-1"
TABLE_PREFIX: Final = "lockgate-"
BUCKET: Final = "lockgate-data"
AUDIENCE: Final = "api://lockgate"
# Above what a premium tenant may use at once, so that it is tenants' own limits one meets here. A session takes 11 MB.
SESSIONS: Final = 600


def lockgate_variables(ports: Ports, keys: DevKeys, *, webhook_allow: str) -> dict[str, str]:
    """Return every LOCKGATE_* and AWS_* variable of the stack; `webhook_allow` is more receivers than its own."""
    store = ports.url("store")
    receivers = [f"{HOST}:{ports.receiver}", *([webhook_allow] if webhook_allow else [])]
    return {
        "LOCKGATE_ENVIRONMENT": "local",
        "LOCKGATE_REDIS_URL": f"redis://{HOST}:{ports.redis}/0",
        "LOCKGATE_TABLE_PREFIX": TABLE_PREFIX,
        "LOCKGATE_BUCKET": BUCKET,
        "LOCKGATE_HOME_REGION": REGION,
        "LOCKGATE_RUNTIME_REGION": REGION,
        "LOCKGATE_RUNTIME_SESSIONS": str(SESSIONS),
        "LOCKGATE_FAILOVER_REGION": FAILOVER_REGION,
        "LOCKGATE_FAILOVER_ENDPOINT": ports.url("runtime_failover"),
        "LOCKGATE_AUTHORITY": ports.url("issuer"),
        "LOCKGATE_AUDIENCE": AUDIENCE,
        "LOCKGATE_PUBLIC_URL": ports.url("gateway"),
        "LOCKGATE_TOOL_TOKEN_KEYS": keys.tool_token_key,
        # A demonstration should not wait for a look at its job.
        "LOCKGATE_JOB_POLL_S": "0.5",
        "LOCKGATE_WEBHOOK_ALLOW": ",".join(receivers),
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_DYNAMODB": store,
        "AWS_ENDPOINT_URL_S3": store,
        "AWS_ENDPOINT_URL_STS": store,
        "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": ports.url("runtime"),
        "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL": ports.url("runtime_control"),
    }


def child_environment(inherited: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return exactly what a Python child of the stack gets: its output is unbuffered, so that its log is current."""
    return {**inherited, "PYTHONUNBUFFERED": "1", **variables}
