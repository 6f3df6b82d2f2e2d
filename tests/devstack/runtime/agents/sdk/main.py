"""An ordinary SDK agent: says what it was given and which process it is, streams, fails, works in the background."""

import asyncio
import os
from collections.abc import AsyncIterator

from bedrock_agentcore import BedrockAgentCoreApp, RequestContext

app = BedrockAgentCoreApp()
tasks: list[int] = []


async def _count(chunks: int) -> AsyncIterator[dict[str, int]]:
    for index in range(chunks):
        yield {"index": index}
        await asyncio.sleep(0)


@app.entrypoint
async def main(payload: dict[str, object], context: RequestContext) -> object:
    """Do what the payload's `do` says."""
    match payload.get("do"):
        case "stream":
            return _count(int(str(payload["chunks"])))
        case "fail":
            raise ValueError("the agent's own secret reason")
        case "begin":
            tasks.append(app.add_async_task("work"))
        case "finish":
            app.complete_async_task(tasks.pop())
    return {
        "pid": os.getpid(),
        "session": context.session_id,
        "headers": {name.lower(): value for name, value in context.request.headers.items()},
        "environment": dict(os.environ),
    }


if __name__ == "__main__":
    app.run()
