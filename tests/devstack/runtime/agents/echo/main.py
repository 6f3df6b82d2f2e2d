"""Answers at once, or as a stream, and says which process it is."""

import asyncio
import os

from bedrock_agentcore import BedrockAgentCoreApp

app = BedrockAgentCoreApp()


async def _count(n, delay_s):
    for index in range(n):
        yield {"index": index}
        await asyncio.sleep(delay_s)


@app.entrypoint
async def main(payload, context):
    if "stream" in payload:
        return _count(payload["stream"], payload.get("delayS", 0))
    if "status" in payload:
        raise ValueError("the agent's own secret reason")
    headers = {name.lower(): value for name, value in context.request.headers.items()}
    return {
        "echo": payload,
        "pid": os.getpid(),
        "headers": headers,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }


if __name__ == "__main__":
    app.run()
