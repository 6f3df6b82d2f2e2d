"""The oracle: a process that nobody stops, which writes down what reached the world outside.

Effects by job, as the agent had them, and webhooks by id, verified by the public `standardwebhooks` library alone. It
imports nothing of Lockgate.
"""

import argparse
import asyncio
from collections import Counter, defaultdict
from typing import Final

import orjson
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

# So many of sixteen webhooks are refused when they come first.
REFUSED_OF_16: Final = 2


class Oracle:
    """What was seen; kept in memory for as long as the process runs."""

    def __init__(self) -> None:
        self._secrets: Final[dict[str, str]] = {}
        self._effects: Final[Counter[str]] = Counter()
        self._posts: Final[defaultdict[str, list[dict[str, object]]]] = defaultdict(list)

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/effects/{job}", self._effect),
                web.put("/secrets/{name}", self._secret),
                web.post("/hooks/{name}", self._hook),
                web.get("/history", self._history),
            ]
        )
        return app

    async def _effect(self, request: web.Request) -> web.Response:
        self._effects[request.match_info["job"]] += 1
        return web.Response(status=204)

    async def _secret(self, request: web.Request) -> web.Response:
        self._secrets[request.match_info["name"]] = await request.text()
        return web.Response(status=204)

    async def _hook(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await request.read()
        webhook_id = request.headers.get("webhook-id", "")
        first = not self._posts[webhook_id]
        verified = self._verifies(name, request, body)
        taken = verified and not (first and refuses_first(webhook_id))
        post = {"name": name, "verified": verified, "taken": taken, "body": body.decode(errors="replace")}
        self._posts[webhook_id].append(post)
        return web.Response(status=204 if taken else 500)

    def _verifies(self, name: str, request: web.Request, body: bytes) -> bool:
        try:
            Webhook(self._secrets[name]).verify(body, dict(request.headers), json_parse=False)
        except (WebhookVerificationError, ValueError, KeyError):
            return False
        return True

    async def _history(self, _: web.Request) -> web.Response:
        seen = {"effects": self._effects, "posts": self._posts}
        return web.Response(body=orjson.dumps(seen), content_type="application/json")


def refuses_first(webhook_id: str) -> bool:
    """Tell whether the first attempt of a webhook is answered 500, by its id alone."""
    return sum(webhook_id.encode()) % 16 < REFUSED_OF_16


async def _serve(port: int) -> None:
    runner = web.AppRunner(Oracle().app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))
