"""Resolves receivers' names, off the event loop and in threads of its own.

A name is refused whole if any of its addresses is not public: what is dialled next must not depend on luck. Nothing
is cached, so every attempt judges what it dials.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from aiohttp.abc import ResolveResult
from yarl import URL

from tenancy.errors import LockgateError
from webhooks.addresses import is_public
from webhooks.errors import UrlRefusedError
from webhooks.urls import UrlRules

# More than attempts of one tenant at once: a name server that hangs leaves threads to everybody else.
_THREADS: Final = 64
# A registration waits for a name for no longer; every attempt looks again.
_REGISTRATION_S: Final = 3.0

Resolve: TypeAlias = Callable[[str, int, socket.AddressFamily], Awaitable[list[ResolveResult]]]
"""(host, port, family) -> addresses; raises OSError."""


class AddressRefusedError(LockgateError, OSError):
    """An address is none that webhooks are sent to; for the caller it is a connection that failed like any other."""

    code = "address_refused"


class Lookup:
    """The system's resolver."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook-lookup")

    async def __call__(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        """Return every address of a name; raises OSError."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host,
                # The zone, if there is one, stays part of the address: such an address is refused.
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    def close(self) -> None:
        """Take no more names; those being looked up are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def demand_public(found: list[ResolveResult]) -> list[ResolveResult]:
    """Return the addresses; raises AddressRefusedError if one of them is not public."""
    if not all(is_public(one["host"]) for one in found):
        raise AddressRefusedError
    return found


class Destinations:
    """Admits URLs at their registration."""

    def __init__(self, rules: UrlRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve

    async def admit(self, text: str) -> str:
        """Return the URL to store; raises UrlRefusedError. A name that does not resolve yet may do so later."""
        url = self._rules.parse(text)
        if not self._rules.exempts(url):
            await self._demand_public(url)
        return str(url)

    async def _demand_public(self, url: URL) -> None:
        try:
            async with asyncio.timeout(_REGISTRATION_S):
                demand_public(await self._resolve(url.raw_host or "", url.port or 0, socket.AF_UNSPEC))
        except AddressRefusedError as refused:
            raise UrlRefusedError("The host must have public addresses only.") from refused
        except (OSError, UnicodeError):
            # TimeoutError is an OSError, too.
            return
