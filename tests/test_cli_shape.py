"""Every command of the program has one shape: help, `--json` where it tells something, groups that explain it."""

from collections.abc import Iterator
from typing import Any

import typer.main

from tutelage.cli import app

WITHOUT_JSON = {("serve",), ("serving",), ("teacher",), ("config", "init")}
"""They run until they are stopped, or write a file."""


def commands(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(node, "commands"):
        assert node.no_args_is_help, path
        for name, inner in node.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield path, node


def test_every_command_tells_what_it_does_and_speaks_json() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert len(found) > 40
    assert [path for path, command in found.items() if not command.help] == []
    silent = {path for path, one in found.items() if "--json" not in {name for p in one.params for name in p.opts}}
    assert silent == WITHOUT_JSON


def test_shells_can_complete_the_names() -> None:
    options = {name for param in typer.main.get_command(app).params for name in param.opts}
    assert {"--install-completion", "--show-completion", "--version"} <= options
