"""Every recipe can be read, names settings that exist, and begins with the command that runs it."""

from pathlib import Path

import pytest

from benchmarks.ha_student import Lesson
from tutelage import config
from tutelage.distill.methods import adapter_config
from tutelage.distill.options import METHODS, DistillOptions

FOLDER = Path(__file__).parent.parent / "examples" / "recipes"
RECIPES = sorted(FOLDER.glob("*.toml"))


def options(recipe: Path, tmp_path: Path) -> DistillOptions:
    return config.load(recipe, data=tmp_path).distill()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_config_file_that_opens_with_its_command(recipe: Path, tmp_path: Path):
    first = recipe.read_text().splitlines()[0]
    assert first == f"# tutelage distill run --config examples/recipes/{recipe.name}"
    found = options(recipe, tmp_path)
    assert found != DistillOptions(data=found.data)
    assert found.batch % found.processes == 0
    assert max(map(len, recipe.read_text().splitlines())) <= 120


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_its_adapter_can_be_made(recipe: Path, tmp_path: Path):
    found = options(recipe, tmp_path)
    made = adapter_config(found, 30)
    assert (made is None) == (found.method == "full")


def test_there_is_a_recipe_for_every_method(tmp_path: Path):
    assert {options(recipe, tmp_path).method for recipe in RECIPES} == set(METHODS)


def test_the_recipe_of_packs_trains_as_the_benchmark_does(tmp_path: Path):
    found, used = options(FOLDER / "packed.toml", tmp_path), Lesson("ha", 3.0, 7).options
    for name in ("targets", "layers_from", "rank", "alpha", "learning_rate", "epochs", "batch", "pack", "rare"):
        assert getattr(found, name) == getattr(used, name)
