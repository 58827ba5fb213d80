"""The page for people: the models, their states, and links to their logs."""

from __future__ import annotations

import html
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from hostler import __version__
from hostler.web.state import mask, state_of

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="7" fill="#2f6f4f"/>'
    '<path d="M9 24V8h4v6h6V8h4v16h-4v-6h-6v6z" fill="#fff"/></svg>'
)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hostler</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }}
body {{ margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }}
h1 {{ font-size: 1.3rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .45rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.state {{ display: inline-block; padding: 0 .5rem; border-radius: .6rem; background: #8883; }}
.ready {{ background: #2f9e5f55; }} .starting, .stopping {{ background: #d9a40055; }}
.error {{ color: #c0392b; font-size: .9em; white-space: pre-wrap; }}
nav a {{ margin-right: 1rem; }}
footer {{ margin-top: 2rem; color: #888; font-size: .9em; }}
</style>
</head>
<body>
<h1>Hostler</h1>
<nav><a href="{root}/logs/stream">everything, live</a><a href="{root}/logs/stream/proxy">Hostler's own log</a>
<a href="{root}/logs/stream/upstream">all engines</a><a href="{root}/v1/models">model list</a></nav>
<table>
<thead><tr><th>Model</th><th>State</th><th class="number">Requests</th><th class="number">Waiting</th>
<th class="number">Process</th><th>Log</th></tr></thead>
<tbody id="models">
{rows}
</tbody>
</table>
<footer>Hostler {version}</footer>
<script>
"use strict";
async function refresh() {{
  try {{
    const text = await (await fetch(location.pathname)).text();
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("models");
    const old = document.getElementById("models");
    if (fresh && fresh.innerHTML !== old.innerHTML) old.innerHTML = fresh.innerHTML;
  }} catch (error) {{ /* the server is away; the next try may find it */ }}
  setTimeout(refresh, 2000);
}}
setTimeout(refresh, 2000);
</script>
</body>
</html>
"""

ROW = """<tr><td><strong>{id}</strong>{about}</td>
<td><span class="state {state}">{state}</span></td>
<td class="number">{active}</td><td class="number">{waiting}</td><td class="number">{pid}</td>
<td><a href="{root}/logs/stream/{path}">live</a> · <a href="{root}/logs/{path}">history</a></td></tr>"""


def routes() -> list[Route]:
    """Every route of this module."""
    return [
        Route("/", to_page),
        Route("/ui", to_page_permanently),
        Route("/ui/", page),
        Route("/ui/{rest:path}", page),
        Route("/favicon.ico", icon),
    ]


def root_of(request: Request) -> str:
    """Where the application is mounted; "" where it has the server for itself."""
    root: str = request.scope.get("root_path", "")
    return root


async def to_page(request: Request) -> Response:
    """The address alone leads to the page."""
    return RedirectResponse(root_of(request) + "/ui/", 302)


async def to_page_permanently(request: Request) -> Response:
    """A missing slash."""
    return RedirectResponse(root_of(request) + "/ui/", 301)


async def icon(request: Request) -> Response:
    """The mark in a browser's tab."""
    return Response(ICON, media_type="image/svg+xml", headers={"cache-control": "max-age=86400"})


async def page(request: Request) -> Response:
    """The models as a table that refreshes itself."""
    state = state_of(request)
    root = html.escape(root_of(request))
    rows = []
    for row in state.fleet.status():
        model = state.config.models[row.id]
        about = " · ".join(text for text in (model.name.strip(), model.description.strip()) if text)
        if about:
            about = f"<br>{html.escape(about)}"
        if row.last_error:
            about += f'<div class="error">{html.escape(mask(row.last_error, state.config.secrets))}</div>'
        rows.append(
            ROW.format(
                id=html.escape(row.id),
                about=about,
                state=row.state.value,
                active=row.active,
                waiting=row.waiting,
                pid=row.pid or "",
                path=quote(row.id, safe="/"),
                root=root,
            )
        )
    return HTMLResponse(
        PAGE.format(rows="\n".join(rows), version=html.escape(__version__), root=root),
        headers={"cache-control": "no-store", "x-content-type-options": "nosniff"},
    )
