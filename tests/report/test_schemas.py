"""The shipped schemas are those of the declarations, and hold for reports of real runs."""

import importlib.util
import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
from jsonschema import Draft202012Validator

import lla
from lla.analyses.analysis import Analysis, Config
from lla.analyses.fields import Plot, array, check, entries, group, metric
from lla.analyses.registry import built_in
from lla.estimate import Estimate
from lla.report import Report, document
from lla.report.contents import contents
from lla.report.schemas import NAMES, made, shipped
from tests.plots import build

ROOT = Path(__file__).parents[2]


def mistakes(name: str, value: object) -> list[str]:
    validator = Draft202012Validator(shipped(name))
    return [f"{list(item.absolute_path)}: {item.message}" for item in validator.iter_errors(value)]


def contents_of(report: Report, folder: Path) -> dict[str, object]:
    lla.write(report, folder / "s.h5")
    with h5py.File(folder / "s.h5") as file:
        found = contents(file)
    return json.loads(json.dumps(found, allow_nan=False))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_is_what_is_declared(name: str) -> None:
    assert shipped(name) == made(name), "run: make docs"
    Draft202012Validator.check_schema(shipped(name))


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("report_format", ROOT / "docs/report_format.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documentation_is_up_to_date() -> None:
    for path, text in generator().files().items():
        assert path.read_text("utf-8") == text, f"{path} is out of date, run: make docs"


def test_the_documentation_names_every_field() -> None:
    text = (ROOT / "docs/report-format.md").read_text("utf-8")
    for analysis in built_in().values():
        for entry in entries(analysis.result):
            if entry.kind in ("metric", "array"):
                assert f"| `{analysis.group}/{entry.name}` |" in text


@pytest.mark.parametrize("name", ["report", "plain_report"])
def test_real_reports_are_valid(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    report: Report = request.getfixturevalue(name)
    assert set(report.results) == set(built_in())
    assert not mistakes("contents", contents_of(report, tmp_path))
    assert not mistakes("document", json.loads(json.dumps(document(report), allow_nan=False)))
    written = lla.write(report, tmp_path / "r.h5")
    assert not mistakes("document", document(written))
    assert not mistakes("document", document(lla.read(tmp_path / "r.h5")))


def test_reports_with_everything_in_them_are_valid(tmp_path: Path) -> None:
    """By hand: every verdict, infinite and missing numbers, no saliency, several layers."""
    assert not mistakes("contents", contents_of(build.report(), tmp_path))
    odd = build.report(
        spectrum=None, saliency=build.no_saliency(), landscape=build.landscape(hole=True)
    )
    assert not mistakes("contents", contents_of(odd, tmp_path))


def test_units_are_as_declared(report: Report, plain_report: Report) -> None:
    for one in (report, plain_report):
        for analysis, result in one.analyses():
            for entry in entries(result):
                value = getattr(result, entry.attribute)
                if entry.kind == "metric" and isinstance(value, Estimate) and value.exists:
                    assert value.units == entry.units, f"{analysis.group}/{entry.name}"


def test_each_dimension_is_as_long_as_its_scale(report: Report, tmp_path: Path) -> None:
    lla.write(report, tmp_path / "r.h5")
    seen = []

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and not item.is_scale:
            for length, dim in zip(item.shape, item.dims, strict=True):
                (scale,) = dim.values()
                assert scale.name == f"{item.parent.name}/{dim.label}"
                assert scale.shape == (length,), name
                seen.append(name)

    with h5py.File(tmp_path / "r.h5") as file:
        file.visititems(look)
    assert len(seen) > 40


BREAKING = {
    "a metric is missing": ("groups/hessian/datasets", "trace"),
    "an array is missing": ("groups/landscape/groups/surface/datasets", "loss"),
    "an interval is missing": ("groups/hessian/datasets/trace/attributes", "low"),
    "units are missing": ("groups/hessian/datasets/eigenvalues/attributes", "units"),
    "a plot has no signal": ("groups/hessian/groups/density/attributes", "signal"),
    "no errors": ("groups/hessian/groups/density/datasets", "density_errors"),
    "no version": ("attributes", "lla_schema"),
    "no provenance": ("groups/provenance/datasets", "plan"),
}


@pytest.mark.parametrize("what", BREAKING)
def test_the_schema_of_the_contents_is_strict(what: str, report: Report, tmp_path: Path) -> None:
    found = contents_of(report, tmp_path)
    path, name = BREAKING[what]
    place = found
    for part in path.split("/"):
        place = place[part]
    del place[name]
    assert mistakes("contents", found)


def test_the_schemas_refuse_what_is_wrong(report: Report, tmp_path: Path) -> None:
    good = contents_of(report, tmp_path)
    wrong = deepcopy(good)
    wrong["groups"]["hessian"]["datasets"]["more"] = good["groups"]["hessian"]["datasets"]["trace"]
    assert "'more' was unexpected" in mistakes("contents", wrong)[0]
    wrong = deepcopy(good)
    wrong["groups"]["hessian"]["datasets"]["eigenvalues"]["dimensions"] = ["row"]
    assert mistakes("contents", wrong)
    told = document(report)
    for path, value in (("verdicts", [{"id": "a", "verdict": "maybe", "why": ""}]), ("more", 1)):
        assert mistakes("document", {**told, path: value})
    told["metrics"]["hessian/trace"]["units"] = "m"
    assert mistakes("document", told)


def test_results_of_other_packages_are_valid(report: Report, tmp_path: Path) -> None:
    found = contents_of(report, tmp_path)
    found["groups"]["weights"] = {
        "attributes": {"NX_class": "NXentry", "title": "Weights", "analysis": "weights", "more": 1},
        "datasets": {"anything": {}},
        "groups": {},
    }
    assert not mistakes("contents", found)
    del found["groups"]["weights"]["attributes"]["analysis"]
    assert mistakes("contents", found)


@dataclass(frozen=True)
class Table:
    plot = Plot(signal="size", axes=("names",))

    names: tuple[str, ...] = array("names", ("names",))
    size: np.ndarray = array("sizes", ("names",))


@dataclass(frozen=True)
class AxisOfAnotherKind:
    size: Estimate = metric("size")
    values: np.ndarray = array("values", ("size",))


@dataclass(frozen=True)
class NoSignal:
    plot = Plot(signal="nothing", axes=("names",))

    names: tuple[str, ...] = array("names", ("names",))


@dataclass(frozen=True)
class TooFewAxes:
    plot = Plot(signal="size", axes=("x",))

    x: np.ndarray = array("x", ("x",))
    size: np.ndarray = array("sizes", ("x", "y"))


@dataclass(frozen=True)
class Nested:
    inner: NoSignal = group("inner", NoSignal)


@pytest.mark.parametrize(
    ("result", "match"),
    [
        (AxisOfAnotherKind, "the dimension 'size' of 'values' has the name of a field"),
        (NoSignal, "draws 'nothing', which is no array"),
        (TooFewAxes, "an axis for each dimension"),
        (Nested, "draws 'nothing'"),
    ],
)
def test_wrong_declarations_are_told_on_import(result: type, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        Analysis("a", "about", "a", Config, result, "a:run")


def test_a_plot_is_a_group_of_its_own() -> None:
    check(Table)
    with pytest.raises(TypeError, match="put its arrays into a group"):
        Analysis("a", "about", "a", Config, Table, "a:run")
