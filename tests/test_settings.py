from pathlib import Path

import pytest

from lla.errors import ConfigurationError
from lla.settings import resolve
from lla.sources import Source, find_recipe, read_recipe


def test_the_stronger_layer_wins_and_is_named(tmp_path: Path) -> None:
    settings = resolve(
        [
            Source("project", {"run": {"seed": 1, "tolerance": 0.1}, "data": {"limit": 5}}),
            Source("recipe", {"run": {"seed": 2}, "model": {"args": {"width": 4, "depth": 2}}}),
            Source("flags", {"run": {"seed": 4}, "model": {"args": {"width": 8}}}),
        ],
        {"LLA_SEED": "3", "LLA_CONFIDENCE": "0.9", "LLA_LANDSCAPE_POINTS": "7", "HOME": "/"},
    )
    assert settings.run.seed == 4
    assert settings.run.confidence == 0.9
    assert settings.run.tolerance == 0.1
    assert settings.model.args == {"width": 8, "depth": 2}
    assert settings.analyses["landscape"].points == 7
    assert settings.origins["run.seed"] == "flags"
    assert settings.origins["run.confidence"] == "environment (LLA_*)"
    assert settings.origins["data.limit"] == "project"
    assert "run.dtype" not in settings.origins


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dta": {}}, "no section [dta] (did you mean 'data'?)"),
        ({"data": {"limt": 3}}, "unknown key 'limt' in [data] (did you mean 'limit'?)"),
        ({"data": {"limit": -1}}, "[data] limit = -1 is not valid"),
        ({"run": {"memory": "8 elephants"}}, "not a size like 8GiB"),
        ({"landscape": {"x": "1:0:4"}}, "needs start < stop"),
        ({"model": {"args": 3}}, "[model] args = 3 is not valid: it is no table"),
        ({"data": {"limit": "many"}}, "[data] limit = 'many' is not valid: it is no whole number"),
        ({"data": {"size": [3]}}, "[data] size = [3] is not valid: it has too few values"),
        ({"training": {"lr": 0}}, "[training] lr = 0 is not valid: it is not greater than 0"),
        ({"training": {"optimizer": "x"}}, "it is none of 'sgd', 'adam', 'adamw' or 'rmsprop'"),
        ({"training": {"betas": 3}}, "[training] betas = 3 is not valid: it is no list"),
        ({"loss": 3}, "loss = 3 stands in no section"),
    ],
)
def test_mistakes_are_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        resolve([Source("recipe r.toml", values)])  # type: ignore[arg-type]
    assert words in error.value.reason
    assert error.value.reason.startswith("recipe r.toml: ")
    assert error.value.exit_code == 2
    assert error.value.remedy


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 8 << 30), ("512M", 512 << 20), ("1.5g", 3 << 29), ("1000", 1000)]
)
def test_sizes(text: str, size: int) -> None:
    assert resolve([Source("flags", {"run": {"memory": text}})]).run.memory == size


def test_a_checkpoint_fills_in_what_is_left_open() -> None:
    settings = resolve([Source("recipe", {"training": {"lr": 0.3}})])
    filled = settings.with_facts({"lr": 0.1, "batch_size": 64, "epoch": 3, "unknown": 1})
    assert filled.training.lr == 0.3
    assert filled.training.batch_size == 64
    assert filled.origins["training.batch_size"] == "checkpoint"
    assert filled.origins["training.lr"] == "recipe"
    # The last step of a schedule may have a learning rate of zero: no setting of ours.
    assert settings.with_facts({"momentum": 0.5, "batch_size": 0}).training.momentum == 0.5


def test_recipes_beside_checkpoints_and_their_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    shared = folder / "lla.toml"
    shared.write_text('[data]\nsource = "d.npz"\n[model]\nfactory = "m.py:f"\n')
    assert find_recipe(folder / "a.pt", "a") == shared
    own = folder / "a.toml"
    own.write_text('[model]\nfactory = "package.module:f"\n')
    assert find_recipe(folder / "a.pt", "a") == own
    assert read_recipe(shared).values == {
        "data": {"source": "runs/d.npz"},
        "model": {"factory": "runs/m.py:f"},
    }
    assert read_recipe(own).values == {"model": {"factory": "package.module:f"}}


@pytest.mark.parametrize("text", ["[data\n", "schema = 2\n"])
def test_bad_recipe_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"r\.toml"):
        read_recipe(path)
