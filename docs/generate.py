"""Writes docs/configuration.md from the settings classes: names, defaults and docstrings, so that they cannot drift.

python docs/generate.py          (or: make docs)
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECTIONS = (
    ("", "config.py", "Settings", "Top level"),
    ("teachers.NAME", "config.py", "TeacherSection", "More teachers, by model"),
    ("routing", "proxy/options.py", "RoutingOptions", "Gate, ramp and guard"),
    ("store", "proxy/options.py", "StoreOptions", "What is kept"),
    ("store.per_pattern.NAME", "proxy/options.py", "PatternStoreOptions", "What is kept of a pattern"),
    ("tools.NAME", "traffic/tool_policy.py", "ToolRule", "How calls of a tool are compared"),
    ("outcomes", "traffic/outcome_rules.py", "OutcomeRules", "What a success is"),
    ("proxy", "proxy/options.py", "DataPlaneOptions", "The agents' port"),
    ("control", "proxy/options.py", "ControlOptions", "The control plane"),
    ("serving", "serving/options.py", "ServingOptions", "The student server"),
    ("distill", "distill/options.py", "DistillOptions", "Distillation"),
    ("prices.MODEL", "proxy/options.py", "Price", "Prices by model name"),
)
SET_ELSEWHERE = {
    "proxy": {"data", "teacher_url", "host", "port", "workers", "student_url", "teachers"},
    "control": {"data", "teacher_url", "port", "teacher_key_env", "teacher_model", "teachers", "student_url"}
    | {"data_plane_url", "routing", "prices", "store", "outcomes", "verifiers", "tools", "settings"},
    "serving": {"data", "port"},
    "distill": {"data"},
    "": {
        "proxy",
        "control",
        "routing",
        "store",
        "outcomes",
        "serving",
        "distill",
        "prices",
        "teachers",
        "tools",
        "model_config",
    },
}
HEAD = """# Configuration

Every setting can be given in `tutelage.toml`, as an environment variable (`TUTELAGE_` and the name, with `__` between
section and name: `TUTELAGE_ROUTING__EPSILON_TOOLS=0.1`) or, for the most used ones, on the command line. The command
line beats the environment, the environment beats the file. Keys are named by their environment variable, never written
down.

This page is made from the source by `make docs`; a test keeps it true.
"""


def fields(file: str, name: str) -> list[tuple[str, str, str]]:
    """(name, default, docstring) of a class's annotated fields."""
    tree = ast.parse((ROOT / file).read_text())
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name).body
    found = []
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = ast.unparse(node.value) if node.value else "required"
            found.append((node.target.id, _plain(default), _docstring(following)))
    return found


def _docstring(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def _plain(default: str) -> str:
    if "lambda" in default:
        return "see text"
    return default.removeprefix("Path(").removesuffix(")") if default.startswith("Path(") else default


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for section, file, name, title in SECTIONS:
        parts.append(f"## {title}" + (f": `[{section}]`" if section else "") + "\n")
        parts.append("| setting | default | meaning |\n|---|---|---|")
        skip = SET_ELSEWHERE.get(section, set())
        rows = [
            f"| `{field}` | `{default}` | {text} |" for field, default, text in fields(file, name) if field not in skip
        ]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (ROOT / "docs" / "configuration.md").write_text(render())
