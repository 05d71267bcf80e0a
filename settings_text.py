"""What the settings say of themselves: names, defaults and docstrings, read from the source of their classes.

The reference (docs/configuration.md) and a new config file are both written from this, so neither can drift.
"""

import ast
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

_ROOT = Path(__file__).parent
SECTIONS = (
    ("", "config.py", "Settings", "Top level"),
    ("teachers.NAME", "config.py", "TeacherSection", "More teachers, by model"),
    ("routing", "proxy/options.py", "RoutingOptions", "Gate, ramp and guard"),
    ("store", "proxy/options.py", "StoreOptions", "What is kept"),
    ("store.per_pattern.NAME", "proxy/options.py", "PatternStoreOptions", "What is kept of a pattern"),
    ("judge", "proxy/options.py", "JudgeOptions", "The judge"),
    ("tools.NAME", "traffic/tool_policy.py", "ToolRule", "How calls of a tool are compared"),
    ("outcomes", "traffic/outcome_rules.py", "OutcomeRules", "What a success is"),
    ("telemetry", "proxy/options.py", "TelemetryOptions", "Metrics, alerts and traces"),
    ("proxy", "proxy/options.py", "DataPlaneOptions", "The agents' port"),
    ("control", "proxy/options.py", "ControlOptions", "The control plane"),
    ("serving", "serving/options.py", "ServingOptions", "The student server"),
    ("distill", "distill/options.py", "DistillOptions", "Distillation"),
    ("schedule", "distill/options.py", "ScheduleOptions", "Training by itself"),
    ("scrub", "traffic/scrub_rules.py", "ScrubRules", "Personal data"),
    ("scrub.recognisers.KIND", "traffic/scrub_rules.py", "RecogniserRule", "More kinds of personal values"),
    ("prices.MODEL", "proxy/options.py", "Price", "Prices by model name"),
)
"""Section, file and class of its settings, title."""
_SET_ELSEWHERE = {
    "proxy": {"data", "teacher_url", "host", "port", "workers", "student_url", "teachers"},
    "control": {"data", "teacher_url", "port", "teacher_key_env", "teacher_model", "teachers", "student_url"}
    | {"data_plane_url", "routing", "prices", "store", "outcomes", "verifiers", "tools", "judge", "telemetry"}
    | {"settings", "scrub"},
    "serving": {"data", "port"},
    "distill": {"data", "scrub", "teachers"},
    "": {"proxy", "control", "routing", "store", "outcomes", "serving", "distill", "prices", "teachers", "tools"}
    | {"judge", "telemetry", "scrub", "schedule", "model_config"},
}
_FILE_HEAD = """\
# Settings of Tutelage. Everything here is optional: what is commented out shows the default.
# Names of the environment are TUTELAGE_ and the name, with __ between section and name; the command line beats the
# environment, the environment beats this file. Keys are named by their environment variable, never written down.
#
#   tutelage serve --config FILE      (without --config, ./tutelage.toml is read)
#   tutelage config show              what is in force, and where it was said
#   tutelage doctor                   whether it will work
"""
_EXAMPLES = {"teachers.NAME": "teachers.claude", "tools.NAME": "tools.get_order", "prices.MODEL": 'prices."gpt-5-mini"'}
_EXAMPLES |= {"scrub.recognisers.KIND": "scrub.recognisers.PATIENT_ID"}


class Field(NamedTuple):
    """One setting."""

    name: str
    default: str
    """As Python writes it; `required` or `see text` where there is none to show."""
    text: str
    """Its docstring on one line."""


def fields(section: str, file: str, name: str) -> list[Field]:
    """The settings of a section that are set there; see `SECTIONS`."""
    tree = ast.parse((_ROOT / file).read_text(encoding="utf-8"))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name).body
    found = []
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = ast.unparse(node.value) if node.value else "required"
            found.append(Field(node.target.id, _plain(default), _docstring(following)))
    return [field for field in found if field.name not in _SET_ELSEWHERE.get(section, ())]


def _docstring(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def _plain(default: str) -> str:
    if "lambda" in default:
        return "see text"
    return default.removeprefix("Path(").removesuffix(")") if default.startswith("Path(") else default


def commented_file() -> str:
    """A config file with every setting as a comment: its meaning, and its default."""
    parts = [_FILE_HEAD]
    for section, file, name, title in SECTIONS:
        head = _EXAMPLES.get(section, section)
        parts.append(f"\n# {title}\n" + (f"# [{head}]\n" if section else ""))
        for field in fields(section, file, name):
            parts += [f"# {line}\n" for line in textwrap.wrap(field.text, 116)]
            parts.append(f"# {field.name} = {_toml(field.default)}\n")
    return "".join(parts)


def _toml(default: str) -> str:
    """A default as TOML writes it, as far as it has a value there."""
    try:
        return _value(_folded(ast.parse(default, mode="eval").body))
    except (SyntaxError, ValueError):  # what only Python can say, such as the default of another class
        return "…"


def _folded(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _folded(node.left) * _folded(node.right)
    return ast.literal_eval(node)


def _value(value: object) -> str:
    if value is None:
        return "…"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return "{}" if isinstance(value, dict) else str(value)
