"""Lists of which only some items are wanted: a store reads pages, whoever asked wants a page of what it asked for."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenancy.data_models import TenantItem
from tenancy.steps import Page

_READ: Final = 100
# At most so many reads before a cursor is handed back.
_READS: Final = 10

T = TypeVar("T", bound=TenantItem)


async def filtered(
    read: Callable[[int, str | None], Awaitable[Page[T]]], keep: Callable[[T], bool], limit: int, after: str | None
) -> Page[T]:
    """Return up to `limit` of what is to be kept, behind `after`; a page may hold fewer though more follow.

    `read` returns up to so many items behind a sort key.
    """
    found: list[T] = []
    for _ in range(_READS):
        page = await read(_READ, after)
        for item in page.items:
            after = item.sort_key()
            if keep(item):
                found.append(item)
            if len(found) == limit:
                more = page.after is not None or item is not page.items[-1]
                return Page(tuple(found), after if more else None)
        after = page.after
        if after is None:
            break
    return Page(tuple(found), after)
