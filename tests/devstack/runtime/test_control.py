"""The control plane as boto3's control client sees it."""

import re
import shutil
from pathlib import Path

import pytest
from aiohttp import ClientSession

from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.server import LocalAgentCore
from tests.devstack.runtime.conftest import Start
from tests.devstack.runtime.sdk import AGENTS, Fields, Sdk, described, session_id

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]
TOKEN = "t" * 33
LIFE = "lifecycleConfiguration"
HEADERS = "requestHeaderConfiguration"


async def create(sdk: Sdk, name: str = "agent", **more: object) -> Fields:
    return await sdk.control("create_agent_runtime", agentRuntimeName=name, **described("sdk", **more))


async def test_a_created_runtime_becomes_ready_with_version_1_and_a_default_endpoint(
    sdk: Sdk, core: LocalAgentCore
) -> None:
    made = await create(sdk)
    assert made["status"] == "CREATING"
    assert re.fullmatch(r"agent-[a-zA-Z0-9]{10}", made["agentRuntimeId"])
    assert made["agentRuntimeArn"] == (
        f"arn:aws:bedrock-agentcore:eu-west-1:000000000000:runtime/{made['agentRuntimeId']}"
    )
    assert made["agentRuntimeVersion"] == "1"
    await core.catalogue.settled()
    got = await sdk.control("get_agent_runtime", agentRuntimeId=made["agentRuntimeId"])
    assert got["status"] == "READY"
    assert got["agentRuntimeArtifact"] == described("sdk")["agentRuntimeArtifact"]
    assert got["lifecycleConfiguration"] == {"idleRuntimeSessionTimeout": 900, "maxLifetime": 28800}
    assert got["workloadIdentityDetails"]["workloadIdentityArn"].endswith(made["agentRuntimeId"])
    listed = await sdk.control("list_agent_runtime_endpoints", agentRuntimeId=made["agentRuntimeId"])
    [endpoint] = listed["runtimeEndpoints"]
    assert (endpoint["name"], endpoint["status"], endpoint["liveVersion"]) == ("DEFAULT", "READY", "1")


async def test_an_update_moves_default_and_leaves_other_endpoints(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk", environmentVariables={"GENERATION": "1"})
    runtime = {"agentRuntimeId": arn.rpartition("/")[2]}
    made = await sdk.control("create_agent_runtime_endpoint", **runtime, name="prod", agentRuntimeVersion="1")
    assert (made["status"], made["targetVersion"]) == ("CREATING", "1")
    assert made["agentRuntimeEndpointArn"] == f"{arn}/runtime-endpoint/prod"
    await sdk.update(arn, "sdk", environmentVariables={"GENERATION": "2"})
    endpoints = await sdk.control("list_agent_runtime_endpoints", **runtime)
    lives = {one["name"]: one["liveVersion"] for one in endpoints["runtimeEndpoints"]}
    assert lives == {"DEFAULT": "2", "prod": "1"}
    said = [await ask(sdk, arn, qualifier) for qualifier in ("DEFAULT", "prod")]
    assert said == ["2", "1"]
    await sdk.control("update_agent_runtime_endpoint", **runtime, endpointName="prod", agentRuntimeVersion="2")
    await sdk.core.catalogue.settled()
    assert await ask(sdk, arn, "prod") == "2"


async def test_versions_are_kept_and_listed(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk", description="first")
    await sdk.update(arn, "puppet", description="second")
    runtime = {"agentRuntimeId": arn.rpartition("/")[2]}
    listed = await sdk.control("list_agent_runtime_versions", **runtime)
    assert [(one["agentRuntimeVersion"], one["description"]) for one in listed["agentRuntimes"]] == [
        ("1", "first"),
        ("2", "second"),
    ]
    first = await sdk.control("get_agent_runtime", **runtime, agentRuntimeVersion="1")
    assert first["agentRuntimeArtifact"] == described("sdk")["agentRuntimeArtifact"]
    refused = await sdk.refused(sdk.control("get_agent_runtime", **runtime, agentRuntimeVersion="3"))
    assert refused.kind == "ResourceNotFoundException"


async def test_runtimes_are_listed_in_pages_per_account_and_region(sdk: Sdk, core: LocalAgentCore) -> None:
    for name in ("c", "a", "b"):
        await create(sdk, name)
    other = Sdk(core, access_key="111111111111")
    await create(other, "a")
    first = await sdk.control("list_agent_runtimes", maxResults=2)
    rest = await sdk.control("list_agent_runtimes", maxResults=2, nextToken=first["nextToken"])
    assert [one["agentRuntimeName"] for one in first["agentRuntimes"] + rest["agentRuntimes"]] == ["a", "b", "c"]
    assert "nextToken" not in rest
    [theirs] = (await other.control("list_agent_runtimes"))["agentRuntimes"]
    assert ":111111111111:" in theirs["agentRuntimeArn"]


async def test_another_accounts_runtime_is_404(sdk: Sdk, core: LocalAgentCore) -> None:
    arn = await sdk.create("agent", "sdk")
    other = Sdk(core, access_key="111111111111")
    refused = await sdk.refused(other.control("get_agent_runtime", agentRuntimeId=arn.rpartition("/")[2]))
    assert (refused.status, refused.kind) == (404, "ResourceNotFoundException")


async def test_a_name_in_use_is_a_conflict(sdk: Sdk) -> None:
    await create(sdk)
    refused = await sdk.refused(create(sdk))
    assert (refused.status, refused.kind) == (409, "ConflictException")


async def test_a_client_token_makes_a_call_happen_once(sdk: Sdk) -> None:
    first, again = [await create(sdk, clientToken=TOKEN) for _ in range(2)]
    assert first["agentRuntimeArn"] == again["agentRuntimeArn"]
    refused = await sdk.refused(create(sdk, "other", clientToken=TOKEN))
    assert refused.kind == "ValidationException"


async def test_an_updates_client_token_makes_one_version(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    versions = [(await update(sdk, arn, clientToken=TOKEN))["agentRuntimeVersion"] for _ in range(2)]
    assert versions == ["2", "2"]


async def test_a_runtime_in_flux_cannot_be_updated(sdk: Sdk, core: LocalAgentCore) -> None:
    arn = await sdk.create("agent", "sdk")
    runtime = core.registry.find(arn.rpartition("/")[2])
    assert runtime is not None
    runtime.status = "UPDATING"
    assert (await sdk.refused(update(sdk, arn))).kind == "ConflictException"


async def test_a_deleted_runtime_is_gone_with_its_sessions(sdk: Sdk, core: LocalAgentCore) -> None:
    arn = await sdk.create("agent", "sdk")
    await sdk.invoke(arn, "tell", session_id("a"))
    runtime = {"agentRuntimeId": arn.rpartition("/")[2]}
    assert (await sdk.control("delete_agent_runtime", **runtime))["status"] == "DELETING"
    await core.catalogue.settled()
    assert not core.supervisor.sessions()
    assert (await sdk.refused(sdk.control("get_agent_runtime", **runtime))).status == 404
    assert (await sdk.refused(sdk.invoke(arn, "tell"))).status == 404
    await create(sdk)


async def test_an_endpoint_comes_and_goes_but_default_stays(sdk: Sdk) -> None:
    arn = await sdk.create("agent", "sdk")
    runtime = {"agentRuntimeId": arn.rpartition("/")[2]}
    await sdk.control("create_agent_runtime_endpoint", **runtime, name="prod", description="live")
    got = await sdk.control("get_agent_runtime_endpoint", **runtime, endpointName="prod")
    assert (got["name"], got["description"], got["targetVersion"]) == ("prod", "live", "1")
    again = sdk.control("create_agent_runtime_endpoint", **runtime, name="prod")
    assert (await sdk.refused(again)).kind == "ConflictException"
    await sdk.control("delete_agent_runtime_endpoint", **runtime, endpointName="prod")
    gone = sdk.control("get_agent_runtime_endpoint", **runtime, endpointName="prod")
    assert (await sdk.refused(gone)).status == 404
    default = sdk.control("delete_agent_runtime_endpoint", **runtime, endpointName="DEFAULT")
    assert (await sdk.refused(default)).kind == "ConflictException"


async def test_the_quotas_of_runtimes_and_endpoints_are_402(start: Start) -> None:
    sdk = Sdk(await start(limits=Limits(runtimes=1, endpoints=1)))
    arn = await sdk.create("agent", "sdk")
    assert (await sdk.refused(create(sdk, "other"))).kind == "ServiceQuotaExceededException"
    runtime = {"agentRuntimeId": arn.rpartition("/")[2]}
    endpoint = sdk.control("create_agent_runtime_endpoint", **runtime, name="prod")
    assert (await sdk.refused(endpoint)).status == 402


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("agentRuntimeName", "has-hyphen", "agentRuntimeName"),
        ("roleArn", "not-a-role", "roleArn"),
        (LIFE, {"idleRuntimeSessionTimeout": 900, "maxLifetime": 60}, LIFE),
        (LIFE, {"maxLifetime": 30000}, f"{LIFE}.maxLifetime"),
        (HEADERS, {"requestHeaderAllowlist": ["Cookie"]}, HEADERS),
        (HEADERS, {"requestHeaderAllowlist": ["X-Amzn-Trace-Id"]}, HEADERS),
        (HEADERS, {"requestHeaderAllowlist": ["Authorization"]}, "body"),
        ("environmentVariables", {f"V{number}": "" for number in range(51)}, "environmentVariables"),
        ("agentRuntimeArtifact", {}, "agentRuntimeArtifact"),
        ("networkConfiguration", {"networkMode": "HOST"}, "networkConfiguration.networkMode"),
        ("clientToken", "short", "clientToken"),
    ],
)
async def test_what_aws_would_refuse_is_refused(
    core: LocalAgentCore, http: ClientSession, field: str, value: object, named: str
) -> None:
    wish = {"agentRuntimeName": "agent", **described("sdk"), field: value}
    async with http.put(f"{core.control_url}/runtimes/", json=wish) as answer:
        assert answer.status == 400
        assert answer.headers["x-amzn-ErrorType"] == "ValidationException"
        body = await answer.json()
    assert body["reason"] == "FieldValidationFailed"
    assert [fault["name"] for fault in body["fieldList"]] == [named]
    assert not list(core.registry.runtimes())


async def test_a_body_that_is_no_json_cannot_be_parsed(core: LocalAgentCore, http: ClientSession) -> None:
    async with http.put(f"{core.control_url}/runtimes/", data=b"{") as answer:
        assert (answer.status, (await answer.json())["reason"]) == (400, "CannotParse")


async def test_fields_of_newer_models_are_kept(core: LocalAgentCore, http: ClientSession) -> None:
    newer = {"platformVersion": "V2", "metadataConfiguration": {"requireMMDSV2": True}}
    async with http.put(
        f"{core.control_url}/runtimes/", json={"agentRuntimeName": "agent", **described("sdk"), **newer}
    ) as made:
        assert made.status == 202
        runtime_id = (await made.json())["agentRuntimeId"]
    async with http.get(f"{core.control_url}/runtimes/{runtime_id}/") as got:
        assert newer.items() <= (await got.json()).items()


async def test_code_that_is_not_there_is_refused(sdk: Sdk) -> None:
    call = sdk.control("create_agent_runtime", agentRuntimeName="agent", **described("no-such-folder"))
    refused = await sdk.refused(call)
    assert refused.kind == "ValidationException"
    assert "no-such-folder" in refused.message


async def test_an_interpreter_that_does_not_start_fails_the_creation(start: Start, tmp_path: Path) -> None:
    python = tmp_path / "odd" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    (tmp_path / "odd" / "main.py").touch()
    sdk = Sdk(await start(code_root=tmp_path))
    arn = await sdk.create("agent", "odd")
    got = await sdk.control("get_agent_runtime", agentRuntimeId=arn.rpartition("/")[2])
    assert got["status"] == "CREATE_FAILED"
    refused = await sdk.refused(sdk.invoke(arn, "tell"))
    assert (refused.status, refused.kind) == (404, "ResourceNotFoundException")


async def test_an_update_that_fails_leaves_the_live_version(start: Start, tmp_path: Path) -> None:
    good, odd = tmp_path / "good", tmp_path / "odd"
    shutil.copytree(AGENTS / "sdk", good)
    shutil.copytree(AGENTS / "sdk", odd)
    (odd / ".venv" / "bin").mkdir(parents=True)
    (odd / ".venv" / "bin" / "python").touch()
    sdk = Sdk(await start(code_root=tmp_path))
    arn = await sdk.create("agent", "good")
    await sdk.update(arn, "odd")
    runtime = {"agentRuntimeId": arn.rpartition("/")[2]}
    assert (await sdk.control("get_agent_runtime", **runtime))["status"] == "UPDATE_FAILED"
    endpoint = await sdk.control("get_agent_runtime_endpoint", **runtime, endpointName="DEFAULT")
    assert (endpoint["liveVersion"], endpoint["targetVersion"], endpoint["status"]) == ("1", "2", "UPDATE_FAILED")
    assert (await sdk.invoke(arn, "tell"))["pid"]


async def test_runtimes_and_tokens_outlive_a_restart(start: Start) -> None:
    first = await start()
    sdk = Sdk(first)
    arn = await sdk.create("agent", "sdk", clientToken=TOKEN)
    await first.__aexit__(None, None, None)
    again = Sdk(await start())
    assert (await again.invoke(arn, "tell"))["pid"]
    assert (await create(again, clientToken=TOKEN))["agentRuntimeArn"] == arn


async def ask(sdk: Sdk, arn: str, qualifier: str) -> str:
    """Return the generation that answers a new session through this endpoint."""
    async with (
        ClientSession() as http,
        http.post(
            f"{sdk.core.data_url}/runtimes/{arn.rpartition('/')[2]}/invocations",
            params={"qualifier": qualifier, "accountId": "000000000000"},
            data=b"{}",
        ) as answer,
    ):
        generation: str = (await answer.json())["environment"]["GENERATION"]
        return generation


async def update(sdk: Sdk, arn: str, **more: object) -> Fields:
    runtime_id = arn.rpartition("/")[2]
    return await sdk.control("update_agent_runtime", agentRuntimeId=runtime_id, **described("sdk", **more))
