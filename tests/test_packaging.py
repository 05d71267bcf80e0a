"""The package as it is shipped: the list of packages, tests beside sources, and what an import may pull in."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("traffic", "serving", "distill", "proxy", "plugins", "examples")
WITHOUT_OWN_TEST = {
    "traffic/errors.py": "only classes",
    "proxy/options.py": "tests/test_config.py",
    "proxy/pattern_lines.py": "tests/test_views.py",
    "proxy/telemetry_names.py": "tests/test_telemetry.py",
    "proxy/views_actions.py": "tests/test_views.py",
    "proxy/views_changes.py": "tests/test_views.py",
    "proxy/views_evidence.py": "tests/test_views.py",
    "proxy/views_health.py": "tests/test_views.py",
    "proxy/views_messages.py": "tests/test_views.py",
    "proxy/views_overview.py": "tests/test_views.py",
    "proxy/views_pairs.py": "tests/test_views.py",
    "proxy/views_pattern.py": "tests/test_views.py",
    "proxy/views_patterns.py": "tests/test_views.py",
    "proxy/views_queries.py": "tests/test_views.py",
    "proxy/views_run.py": "tests/test_views.py",
    "proxy/views_student.py": "tests/test_views.py",
    "proxy/views_students.py": "tests/test_views.py",
    "proxy/views_trajectories.py": "tests/test_views.py",
    "serving/options.py": "tests/test_config.py",
    "distill/options.py": "tests/test_config.py",
    "distill/examine.py": "tests/test_run.py",
    "distill/register.py": "tests/test_run.py",
    "examples/parcels/tasks.py": "tests/test_parcels.py",
    "examples/parcels/desk.py": "tests/test_parcels.py",
    "examples/parcels/teacher.py": "tests/test_parcels.py",
    "examples/parcels/agent.py": "tests/test_parcels.py",
    "examples/support_desk/agent.py": "tests/test_support_desk.py",
    "examples/support_desk/customers.py": "tests/test_support_desk.py",
    "examples/support_desk/shop.py": "tests/test_support_desk.py",
    "examples/support_desk/story.py": "tests/test_support_desk.py",
    "examples/support_desk/teacher.py": "tests/test_support_desk.py",
    "examples/demo_world.py": "tests/test_demo.py",
    "examples/place.py": "tests/test_examples.py",
    "examples/openai_sdk.py": "tests/test_examples.py",
    "examples/langchain_agent.py": "tests/test_examples.py",
    "examples/langgraph_multi_agent.py": "tests/test_examples.py",
    "examples/feedback_and_verifiers.py": "tests/test_examples.py",
    "examples/import_old_logs.py": "tests/test_examples.py",
    "examples/tool_less_tiny_model.py": "tests/test_examples.py",
    "examples/train_on_gpu.py": "tests/test_examples.py",
    "examples/litellm_proxy.py": "tests/test_litellm_logger.py",
    "traffic/openai_form.py": "tests/test_langchain_records.py",
}


def sources() -> list[Path]:
    found = [path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    return [path.relative_to(ROOT) for path in found if not path.name.startswith("__")]


def test_the_list_of_packages_is_complete() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for floor in FLOORS for path in (ROOT / floor).rglob("__init__.py")}
    assert set(listed) == {"tutelage"} | {".".join(("tutelage", *folder.parts)) for folder in folders}


@pytest.mark.parametrize("source", sources(), ids=str)
def test_every_source_file_has_its_test(source: Path) -> None:
    own = [f"test_{source.stem}.py", f"test_{source.parts[0]}_{source.stem}.py"]
    assert str(source) in WITHOUT_OWN_TEST or any((ROOT / "tests" / name).is_file() for name in own)


@pytest.mark.parametrize(
    "module",
    ["tutelage", "tutelage.cli", "tutelage.proxy.dataplane", "tutelage.proxy.control", "tutelage.proxy.supervisor"],
)
def test_light_parts_load_nothing_heavy(module: str) -> None:
    heavy = ("torch", "transformers", "peft", "trl", "presidio_analyzer", "litellm", "xllamacpp", "spacy", "datasets")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_loads_nothing_at_all() -> None:
    code = "import sys; before = set(sys.modules); import tutelage; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['tutelage']"
