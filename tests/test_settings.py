from pathlib import Path

import pytest

from lla.errors import ConfigurationError, nearest
from lla.settings import is_recipe, resolve
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
    assert settings.origins["run.confidence"] == "environment (LLA_CONFIDENCE)"
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
        ({"run": {"memory": "inf"}}, "'inf' is not a size like 8GiB"),
        ({"run": {"memory": "1e400GiB"}}, "'1e400GiB' is not a size like 8GiB"),
        ({"run": {"memory": float("inf")}}, "it is not finite"),
        ({"training": {"lr": float("inf")}}, "it is not finite"),
        ({"training": {"weight_decay": float("inf")}}, "it is not finite"),
        ({"training": {"eps": float("nan")}}, "it is not finite"),
        ({"seed": 3}, "seed = 3 stands in no section"),
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


def test_a_top_level_setting_is_told_its_section() -> None:
    for key, place in (("seed", "[run]: seed = 3"), ("loss", "[loss]: name = 3")):
        with pytest.raises(ConfigurationError) as error:
            resolve([Source("recipe", {key: 3})])  # type: ignore[dict-item]
        assert error.value.remedy == f"it belongs in {place}"


RECIPE = {
    "model": {"factory": "m.py:f", "args": {"width": 4}},
    "data": {
        "source": "d.npz",
        "split": "train",
        "classes": [0],
        "limit": 5,
        "args": {"a": 1},
        "mean": 3,
        "batch_size": 7,
    },
    "loss": {"args": {"ignore_index": -1}},
}


@pytest.mark.parametrize(
    ("flags", "expected", "origins"),
    [
        (  # the same network, data and loss: key by key, args too
            {
                "model": {"args": {"depth": 2}},
                "data": {"source": "./d.npz", "split": "test", "args": {"b": 2}},
                "loss": {"name": "cross_entropy", "args": {"label_smoothing": 0.1}},
            },
            {
                "model.args": {"width": 4, "depth": 2},
                "data.split": "test",
                "data.limit": 5,
                "data.args": {"a": 1, "b": 2},
                "loss.args": {"ignore_index": -1, "label_smoothing": 0.1},
            },
            {"model.args": "recipe + flags", "data.split": "flags", "data.limit": "recipe"},
        ),
        (  # others: what describes the former ones is dropped
            {
                "model": {"factory": "m.py:g", "args": {"depth": 2}},
                "data": {"source": "e.npz"},
                "loss": {"name": "mse"},
            },
            {
                "model.args": {"depth": 2},
                "data.split": "",
                "data.classes": (),
                "data.limit": None,
                "data.args": {},
                "data.mean": (3.0,),
                "data.batch_size": 7,
                "loss.args": {},
            },
            {"model.args": "flags", "data.limit": None, "data.batch_size": "recipe"},
        ),
        ({"model": {"args": {"width": 5}}}, {"model.args": {"width": 5}}, {"model.args": "flags"}),
        ({"data": {"limit": 0}}, {"data.limit": None}, {"data.limit": "flags"}),
        ({"data": {"limit": ""}}, {"data.limit": None}, {"data.limit": "flags"}),
    ],
)
def test_what_is_merged_and_what_dropped(
    flags: dict[str, dict[str, object]],
    expected: dict[str, object],
    origins: dict[str, str | None],
) -> None:
    settings = resolve([Source("recipe", RECIPE), Source("flags", flags)])
    for name, value in expected.items():
        section, _, key = name.partition(".")
        assert getattr(getattr(settings, section), key) == value, name
    for name, origin in origins.items():
        assert settings.origins.get(name) == origin, name


def test_args_that_are_no_table_below_others() -> None:
    flags = Source("flags", {"model": {"args": {"a": 1}}})
    with pytest.raises(ConfigurationError, match=r"recipe: \[model\] args = 3 .* no table"):
        resolve([Source("recipe", {"model": {"args": 3}}), flags])


def test_variables_carry_lists_and_tables() -> None:
    found = resolve(
        [],
        {
            "LLA_MODEL_ARGS": "{ width = 4 }",
            "LLA_DATA_CLASSES": "[0, 2]",
            "LLA_DATA_SPLIT": "2024",
            "LLA_DATA_SOURCE": "d.npz",
            "LLA_PARAMS": '["a.*", "b.*"]',
            "LLA_ONLY": "spectrum,baseline",
            "LLA_MEMORY": "8GiB",
        },
    )
    assert found.model.args == {"width": 4}
    assert found.data.classes == (0, 2)
    assert (found.data.split, found.data.source) == ("2024", "d.npz")
    assert found.run.params == ("a.*", "b.*")
    assert found.run.only == ("spectrum", "baseline")
    assert found.run.memory == 8 << 30


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("LLA_LR", "LLA_TRAINING_LR"),
        ("LLA_LOSS", "LLA_LOSS_NAME"),
        ("LLA_MODEL", "LLA_MODEL_FACTORY"),
        ("LLA_DATA", "LLA_DATA_SOURCE"),
    ],
)
def test_variables_without_their_section(variable: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=variable) as error:
        resolve([], {variable: "1"})
    assert error.value.remedy == f"write {meant}"


def test_recipes_are_known_by_what_they_say(tmp_path: Path) -> None:
    texts = {
        'schema = 1\n[data]\nlimt = "x"\n': True,
        "[data]\nlimit = 3\n": True,
        "x = 3\n": False,
        "[model]\nlayers = 3\n": False,
        "import torch\n": False,
        "": False,
    }
    for text, expected in texts.items():
        (tmp_path / "r.toml").write_text(text)
        assert is_recipe(tmp_path / "r.toml") == expected, text


def test_names_are_near_whatever_their_case() -> None:
    assert nearest("LR", ["lr", "eps"]) == " (did you mean 'lr'?)"
