"""What the embedded stores keep when they are stopped or killed."""

import asyncio
from pathlib import Path

import aioboto3
import pytest
from redis.asyncio import Redis

from ops.devstack.process import PartFailedError, free_port, stop
from ops.devstack.stores import start_redis, start_store
from tests.conftest import REGION, STORE_PYTHON

pytestmark = pytest.mark.stack

KEY = {"pk": {"S": "kept"}}
SESSION = aioboto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)


async def test_the_store_keeps_a_clean_stop_and_all_saved_writes_of_a_kill(tmp_path: Path) -> None:
    port = free_port()
    state, endpoint = tmp_path / "data" / "state" / "dynamodb.json", f"http://127.0.0.1:{port}"
    async with (
        SESSION.client("dynamodb", endpoint_url=endpoint) as db,
        SESSION.client("s3", endpoint_url=endpoint) as s3,
    ):
        process = await start_store(port, tmp_path / "data", tmp_path / "log", env_python=STORE_PYTHON)
        await db.create_table(
            TableName="kept",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
        await db.put_item(TableName="kept", Item=KEY)
        await s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
        await s3.put_object(Bucket="kept", Key="a/b", Body=b"kept")
        await stop(process)
        assert process.returncode == 0

        process = await start_store(port, tmp_path / "data", tmp_path / "log", env_python=STORE_PYTHON)
        assert (await db.get_item(TableName="kept", Key=KEY))["Item"] == KEY
        await db.put_item(TableName="kept", Item=KEY | {"later": {"S": "saved"}})
        async with asyncio.timeout(30):
            while b"later" not in await asyncio.to_thread(state.read_bytes):
                await db.get_item(TableName="kept", Key=KEY)
        process.kill()
        await process.wait()

        process = await start_store(port, tmp_path / "data", tmp_path / "log", env_python=STORE_PYTHON)
        assert (await db.get_item(TableName="kept", Key=KEY))["Item"]["later"] == {"S": "saved"}
        assert await (await s3.get_object(Bucket="kept", Key="a/b"))["Body"].read() == b"kept"
        await stop(process)


async def test_redis_keeps_what_was_synced_when_it_is_killed(tmp_path: Path) -> None:
    port = free_port()
    process = await start_redis(port, tmp_path / "data", tmp_path / "log")
    async with Redis.from_url(f"redis://127.0.0.1:{port}/0") as redis:
        await redis.set("kept", "yes")
        await redis.execute_command("WAITAOF", 1, 0, 5000)
    process.kill()
    await process.wait()
    process = await start_redis(port, tmp_path / "data", tmp_path / "log")
    async with Redis.from_url(f"redis://127.0.0.1:{port}/0") as redis:
        assert await redis.get("kept") == b"yes"
    await stop(process)


async def test_a_store_on_a_taken_port_names_the_port(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PartFailedError, match=f"free port {port}"):
            await start_store(port, tmp_path / "data", tmp_path / "log", env_python=STORE_PYTHON)


async def test_redis_on_a_taken_port_says_what_to_check(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PartFailedError, match="the port is free"):
            await start_redis(port, tmp_path / "data", tmp_path / "log")


async def test_a_missing_environment_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(PartFailedError, match="make install"):
        await start_store(free_port(), tmp_path / "data", tmp_path / "log", env_python=tmp_path / "python")
