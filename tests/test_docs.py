"""The documentation is true: pages made from the source match it, links lead somewhere, and what stands in blocks of
code exists: commands with their options, settings, modules, names that are imported, JSON that can be read."""

import ast
import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import typer.main

from tutelage.cli import app
from tutelage.config import Settings

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SHELL = ("sh", "bash", "console", "")


class Block(NamedTuple):
    """A fenced block of code."""

    page: str
    line: int
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    text, name = page.read_text(), str(page.relative_to(ROOT))
    found = re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```$", text, re.M | re.S)
    return [Block(name, text[: match.start()].count("\n") + 1, match[1], match[2]) for match in found]


BLOCKS = [block for page in PAGES for block in blocks(page)]


def in_language(*languages: str) -> list[object]:
    chosen = [block for block in BLOCKS if block.language in languages]
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in chosen]


def generator(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_page_is_the_source() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == generator("generate").render(), "run: make docs"


@pytest.mark.parametrize(("section", "file", "name", "title"), generator("generate").SECTIONS)
def test_every_setting_is_explained(section: str, file: str, name: str, title: str) -> None:
    module = generator("generate")
    unexplained = {field for field, _, text in module.fields(section, file, name) if not text}
    assert not unexplained


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_of_the_documentation_is_built_without_a_warning(tmp_path: Path) -> None:
    # Headings that links name, pages that nothing leads to and code that cannot be coloured are warnings too.
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    done = subprocess.run([*command, str(ROOT / "docs"), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Quick start" in (tmp_path / "index.html").read_text()


APART = ("tutelage.plugins.openai_agents",)
"""Modules that need a package which is not in the environment of the tests; tests of their own import them."""


def names_in(module: str) -> set[str]:
    """What can be imported from a module of ours."""
    if module not in APART:
        return set(dir(importlib.import_module(module)))
    source = ROOT / f"{module.removeprefix('tutelage.').replace('.', '/')}.py"
    tree = ast.parse(source.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("block", in_language("python"))
def test_python_compiles_and_what_it_imports_of_ours_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tutelage"):
            known = names_in(node.module or "")
            assert [name.name for name in node.names if name.name not in known] == []


@pytest.mark.parametrize("block", in_language("json"))
def test_json_can_be_read(block: Block) -> None:
    assert isinstance(json.loads(block.text), dict | list)


@pytest.mark.parametrize("block", in_language("toml"))
def test_settings_are_settings(block: Block) -> None:
    known = tomllib.loads(block.text)
    if known.get("verifiers"):
        known["teacher"] = "http://127.0.0.1:1/v1"
    assert known.keys() <= Settings(**known).model_fields_set


def commands() -> list[object]:
    """All lines of shell blocks, continued ones joined, and everything in `code` that begins with our own name."""
    lines = []
    for block in BLOCKS:
        if block.language in SHELL:
            for line in block.text.replace("\\\n", " ").splitlines():
                lines.append((f"{block.page}:{block.line}", line.strip()))
    for page in PAGES:
        for code in re.findall(r"(?<!`)`(tutelage [^`]+)`(?!`)", page.read_text()):
            lines.append((str(page.relative_to(ROOT)), " ".join(code.split())))
    ours = [(where, line) for where, line in lines if re.match(r"(tutelage|python -m tutelage|make) ", line)]
    return [pytest.param(line, id=f"{where} {line}"[:100]) for where, line in dict.fromkeys(ours)]


@pytest.mark.parametrize("line", commands())
def test_commands_exist_with_their_options(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words[1:]) <= set(targets)
    elif words[0] == "python":
        assert importlib.util.find_spec(words[2]), words[2]
    else:
        follow(words[1:])


def follow(words: list[str]) -> None:
    """Walk down the commands; commas and bars separate several commands or options that are named together."""
    command: Any = typer.main.get_command(app)
    for word in words:
        word = word.strip("[],|&…")
        if word.startswith("-"):
            options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
            assert word.partition("=")[0] in options, f"{command.name} has no option {word}"
        elif hasattr(command, "commands") and word.islower():
            assert word in command.commands, f"there is no command {word!r} in {command.name}"
            command = command.commands[word]


def test_the_wrong_is_told_from_the_right() -> None:
    with pytest.raises(AssertionError, match="no command 'paterns'"):
        follow(["paterns", "list"])
    with pytest.raises(AssertionError, match="no option --speed"):
        follow(["serve", "--speed", "9"])
