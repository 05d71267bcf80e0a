"""Writes docs/openapi.json from the running applications' own code, so that the description cannot drift.

python docs/openapi.py          (or: make docs)

Paths and parameters are those of the admin application; a body is the struct that the handler reads; a summary is the
row of docs/admin-api.md or of the page that describes the request. The agents' port is no FastAPI application, so the
few paths of our own there are listed here.
"""

import inspect
import json
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType
from typing import Any

import msgspec
from fastapi.routing import APIRoute

from tutelage.proxy import feedback, intake
from tutelage.proxy.control import ControlPlane
from tutelage.proxy.intake_form import Batch, Logged
from tutelage.proxy.options import ControlOptions
from tutelage.settings_text import fields
from tutelage.traffic.feedback import Given
from tutelage.traffic.layout import DataDir

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "openapi.json"
PREFIXES = ("/api/", "/healthz", "/metrics", "/tables/")
AGENTS, ADMIN = "http://127.0.0.1:8400", "http://127.0.0.1:8401"
SCHEMA = "#/components/schemas/{name}"
_READ = re.compile(r"read_body\(request, (\w+)\)")
_ROW = re.compile(r"^\| (`(?:GET|POST|PUT|DELETE) [^|]*(?:\\\|[^|]*)*`) \| (.+) \|$", re.M)
ERROR = {"type": "object", "properties": {"type": {"type": "string"}, "message": {"type": "string"}}}
OPENAI_ERROR = {"properties": ERROR["properties"] | {"param": {}, "code": {}}, "type": "object"}


def document() -> dict[str, Any]:
    """The whole OpenAPI 3.1 document."""
    with tempfile.TemporaryDirectory() as folder:
        data = DataDir(Path(folder) / "data")
        plane = ControlPlane.open(data, ControlOptions(data=str(data.root), teacher_url=""))
        try:
            paths, kinds = _admin_paths(plane.app.routes)
        finally:
            plane.close()
    paths |= _agents_paths()
    kinds = sorted({*kinds, Given, Batch, Logged}, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components([_readable(kind) for kind in kinds], ref_template=SCHEMA)
    for kind in kinds:
        _describe(schemas[kind.__name__], kind)
    schemas["Batch"]["properties"]["records"]["items"] = {"$ref": SCHEMA.format(name="Logged")}
    about = "The admin API, and what the agents' port has beside OpenAI's API. See docs/wire-api.md."
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tutelage", "version": "v1", "description": about, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": ADMIN, "description": "Control plane"}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def render() -> str:
    """The document as it stands in docs/openapi.json."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _admin_paths(routes: Iterable[Any]) -> tuple[dict[str, Any], list[type[Any]]]:
    told, kinds, paths = _told(), [], {}
    for route in routes:
        if not isinstance(route, APIRoute) or not route.path.startswith(PREFIXES):
            continue
        path = re.sub(r":\w+}", "}", route.path)
        for method in sorted(route.methods - {"HEAD"}):
            operation = _operation(route, told.get((method, _shape(path)), ""))
            kind = _body_of(route.endpoint)
            if kind:
                operation["requestBody"] = _json_body(kind.__name__)
                kinds.append(kind)
            paths.setdefault(path, {})[method.lower()] = operation
    return paths, kinds


def _operation(route: APIRoute, summary: str) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": route.name if route.methods == {"GET"} else f"{route.name}_change"}
    made["operationId"] += "_" + re.sub(r"\W+", "_", route.path).strip("_")
    if summary:
        made["summary"] = summary
    dependant = route.dependant
    parameters = [
        {"name": field.alias, "in": "path", "required": True, "schema": {"type": "string"}}
        for field in dependant.path_params
    ]
    parameters += [
        {"name": field.alias, "in": "query", "required": field.field_info.is_required(), "schema": _type_of(field)}
        for field in dependant.query_params
    ]
    if parameters:
        made["parameters"] = parameters
    made["responses"] = {"200": {"description": "JSON"}, "4XX": _error("The request cannot be answered.", ERROR)}
    return made


def _type_of(field: Any) -> dict[str, Any]:
    schema = dict(msgspec.json.schema(field.field_info.annotation))
    optional = not field.field_info.is_required() and field.default is not None
    return schema | ({"default": field.default} if optional else {})


def _agents_paths() -> dict[str, Any]:
    texts = (
        (feedback.PATH, "say how a call or a run went; see docs/feedback.md", "Given"),
        (intake.PATH, "records of calls that were made elsewhere; see docs/log-sources.md", "Batch"),
    )
    server = [{"url": AGENTS, "description": "Data plane"}]
    found: dict[str, Any] = {}
    for path, summary, body in texts:
        responses = {"202": {"description": "In the journal"}, "4XX": _error("Nothing was kept.", OPENAI_ERROR)}
        responses["503"] = _error("The journal takes nothing now; send it again later.", OPENAI_ERROR)
        operation = {"summary": summary, "requestBody": _json_body(body), "responses": responses}
        found[path] = {"servers": server, "post": {"operationId": "post" + path.replace("/", "_")} | operation}
    alive = {"operationId": "health", "summary": "the worker lives; breakers and journal"}
    found["/tutelage/health"] = {"servers": server, "get": alive | {"responses": {"200": {"description": "JSON"}}}}
    return found


def _error(text: str, inner: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"error": inner}}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _json_body(name: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": {"$ref": SCHEMA.format(name=name)}}}}


def _body_of(endpoint: Callable[..., Any]) -> type[Any] | None:
    """The struct that a handler, or a function that it closes over, hands to `read_body`."""
    if not isinstance(endpoint, FunctionType):
        return None
    found = _READ.search(inspect.getsource(endpoint))
    if found:
        return endpoint.__globals__[found.group(1)]
    for cell in endpoint.__closure__ or ():
        if isinstance(cell.cell_contents, FunctionType) and (kind := _body_of(cell.cell_contents)):
            return kind
    return None


def _readable(kind: type[Any]) -> type[Any]:
    """The same struct with any JSON where it holds JSON unread: msgspec cannot write the default of such a field."""
    known = msgspec.structs.fields(kind) if issubclass(kind, msgspec.Struct) else ()
    if not any(isinstance(field.default, msgspec.Raw) for field in known):
        return kind
    members: list[tuple[Any, ...]] = []
    for field in known:
        if isinstance(field.default, msgspec.Raw):
            members.append((field.name, Any, None))
        else:
            members.append((field.name, field.type) if field.required else (field.name, field.type, field.default))
    made = msgspec.defstruct(kind.__name__, members, kw_only=True, forbid_unknown_fields=True)
    made.__doc__ = kind.__doc__
    return made


def _describe(schema: dict[str, Any], kind: type[Any]) -> None:
    """Put the docstrings under a struct's fields into its schema."""
    file = Path(inspect.getsourcefile(kind) or "").resolve().relative_to(ROOT)
    for field in fields("openapi", str(file), kind.__name__):
        if field.text and field.name in schema["properties"]:
            schema["properties"][field.name]["description"] = field.text


def _told() -> dict[tuple[str, str], str]:
    """What the pages say about each request: the second cell of a row whose first one names it."""
    told: dict[tuple[str, str], str] = {}
    for page in sorted((ROOT / "docs").glob("*.md")):
        for names, text in _ROW.findall(page.read_text()):
            for method, path, siblings in re.findall(r"(GET|POST|PUT|DELETE) (/[\w/.-]+)((?:, \w+)*)", names):
                for end in [path.rpartition("/")[2], *siblings.split(", ")[1:]]:
                    shape = _shape(f"{path.rpartition('/')[0]}/{end}")
                    told.setdefault((method, shape), re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text))
    return told


def _shape(path: str) -> str:
    """A path with its variables made alike: the pages write them in capitals, the program in braces."""
    return re.sub(r"\{\w+\}|\b[A-Z]+\b|(?<=\.)(json|csv)$", "*", path)


if __name__ == "__main__":
    TARGET.write_text(render())
