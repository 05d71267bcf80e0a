"""Writes docs/configuration.md from the settings classes: names, defaults and docstrings, so that they cannot drift.

python docs/generate.py          (or: make docs)
"""

from pathlib import Path

from tutelage.settings_text import SECTIONS, fields

ROOT = Path(__file__).parent.parent
HEAD = """# Configuration

Every setting can be given in `tutelage.toml`, as an environment variable (`TUTELAGE_` and the name, with `__` between
section and name: `TUTELAGE_ROUTING__EPSILON_TOOLS=0.1`; lists as JSON) or, for the most used ones, on the command line.
The command line beats the environment, the environment beats the file. Keys are named by their environment variable,
never written down.

This page is made from the source by `make docs`; a test keeps it true.
"""


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for section, file, name, title in SECTIONS:
        parts.append(f"## {title}" + (f": `[{section}]`" if section else "") + "\n")
        parts.append("| setting | default | meaning |\n|---|---|---|")
        rows = [f"| `{field}` | `{default}` | {text} |" for field, default, text in fields(section, file, name)]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (ROOT / "docs" / "configuration.md").write_text(render())
