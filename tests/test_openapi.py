"""docs/openapi.json is what the applications offer, and the pages name every request."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def made() -> str:
    spec = importlib.util.spec_from_file_location("openapi_of_docs", DOCS / "openapi.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.render()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "servers"
    ]


def test_the_file_is_the_source(made: str) -> None:
    assert (DOCS / "openapi.json").read_text() == made, "run: make docs"


def test_every_request_is_described_on_a_page_and_named_once(made: str) -> None:
    found = operations(json.loads(made))
    assert [f"{method} {path}" for method, path, operation in found if not operation.get("summary")] == []
    names = [operation["operationId"] for _, _, operation in found]
    assert len(names) == len(set(names)) > 50


def test_whatever_changes_something_says_what_body_it_takes(made: str) -> None:
    document = json.loads(made)
    for method, path, operation in operations(document):
        assert ("requestBody" in operation) == (method != "get"), path
        if method != "get":
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_variables_in_a_path_are_its_parameters(made: str) -> None:
    for _, path, operation in operations(json.loads(made)):
        told = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert told == {part.split("}")[0] for part in path.split("{")[1:]}
