"""The local webhook receiver's page: what it got, for people. Whatever came from outside is escaped here, once."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import orjson

from ops.devstack.receipts import Receipt

# Nothing on the page runs or loads anything, whatever somebody managed to have delivered.
SECURITY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_LOOK_AGAIN_S: Final = 3
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2733;background:#fff}
article{border:1px solid #c9d3dc;border-left:6px solid #b3261e;border-radius:6px;margin:1rem 0;padding:.6rem 1rem}
article.verified{border-left-color:#1b7f3b}
h1{font-size:1.4rem}h2{font-size:1rem;margin:0}dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem}
dt{color:#56657a}dd{margin:0;overflow-wrap:anywhere}
pre{background:#f2f5f8;padding:.6rem;overflow-x:auto;margin:.4rem 0 0}code{font-family:ui-monospace,monospace}
@media(prefers-color-scheme:dark){body{background:#12181f;color:#dfe6ee}article{border-color:#334150}
pre{background:#1b242e}dt{color:#9fb0c3}}
"""


def page(receipts: Sequence[Receipt], names: Iterable[str]) -> str:
    """Return the page; it asks for itself again every few seconds."""
    known = ", ".join(f"<code>/hooks/{escape(name)}</code>" for name in names) or "nothing yet"
    shown = "".join(map(_article, receipts)) or "<p>Nothing came so far.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{_LOOK_AGAIN_S}"><title>Webhooks received</title>'
        f"<style>{_STYLE}</style></head><body><h1>Webhooks received</h1>"
        f"<p>Verified here: {known}. For programs: <code>GET /deliveries</code>.</p>"
        f"<main>{shown}</main></body></html>"
    )


def _article(receipt: Receipt) -> str:
    state = "verified" if receipt.verified else "refused"
    said = "verified" if receipt.verified else f"not verified: {receipt.reason}"
    answered = "no answer" if receipt.answered is None else str(receipt.answered)
    facts = {
        "to": f"/hooks/{receipt.name}",
        "at": receipt.received_at.isoformat(timespec="milliseconds"),
        "answered": answered,
        **receipt.headers,
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    body = receipt.body if receipt.payload is None else _indented(receipt.payload)
    return (
        f'<article class="{state}"><h2>{escape(receipt.type or "no event")} · {escape(said)}</h2>'
        f"<dl>{listed}</dl><pre><code>{escape(body)}</code></pre></article>"
    )


def _indented(payload: object) -> str:
    return orjson.dumps(payload, option=orjson.OPT_INDENT_2).decode()
