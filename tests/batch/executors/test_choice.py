"""Which executor, and what is said where its engine is not there."""

import sys
from pathlib import Path

import pytest

from lla.batch.executors.choice import EXECUTORS, made
from lla.batch.executors.options import Options
from lla.errors import ConfigurationError


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent:
        @staticmethod
        def find_spec(asked: str, *_: object) -> None:
            if asked == package:
                raise ModuleNotFoundError(f"No module named '{asked}'", name=asked)

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    with pytest.raises(ConfigurationError) as error:
        made(name, Options(logs=tmp_path))
    assert (
        error.value.reason
        == f"--executor {name} needs the package {package}, which is not installed"
    )
    assert error.value.remedy == f'install it: pip install "loss-landscape-lla[{name}]"'


def test_an_executor_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no executor 'sulrm' .did you mean 'slurm'"):
        made("sulrm", Options(logs=tmp_path))
    assert list(EXECUTORS) == ["process", "ray", "slurm"]
