"""Pages as HTML: the templates, and the two forms in which each page comes.

A page is asked for whole, or (header `x-tutelage-part`) without its frame: that is what an open page fetches every two
seconds and puts in place of its live sections. Polling, not a stream of events: the address of a page is its whole
state, so a fetch needs nothing that was there before; it goes on by itself when the control plane was restarted; no
connection is held for a tab that nobody looks at; and an unchanged page costs a hash and an empty 304.
"""

import hashlib
from pathlib import Path
from typing import Any

from fastapi.responses import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from .admin_http import PAGE_HEADERS
from .figures import moment
from .views import Shell

PART = "x-tutelage-part"
"""Header of a request for a page without its frame."""

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, part: bool = False, **names: Any) -> str:
    """A page, whole or without its frame."""
    base = "part.html" if part else "frame.html"
    return _templates.get_template(template).render(base=base, **names)


def respond(
    template: str, shell: Shell, page: Any, now: float, *, part: bool = False, seen: str = "", status: int = 200
) -> Response:
    """The answer to a request for a page; `seen` is the tag of what the browser shows already."""
    body = render(template, part, shell=shell, page=page).encode("utf-8", "replace")
    headers = {**PAGE_HEADERS, "etag": f'"{hashlib.sha256(body).hexdigest()[:24]}"', "x-as-of": moment(now)}
    headers["vary"] = PART
    if part and seen == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, "text/html; charset=utf-8")
