"""The documentation is true: the configuration page matches the source, links lead somewhere."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_page_is_the_source() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == generator().render(), "run: make docs"


@pytest.mark.parametrize(("section", "file", "name", "title"), generator().SECTIONS)
def test_every_setting_is_explained(section: str, file: str, name: str, title: str) -> None:
    module = generator()
    unexplained = {field for field, _, text in module.fields(section, file, name) if not text}
    assert not unexplained


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
