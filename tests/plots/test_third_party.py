"""An analysis of somebody else gets its section, its figure, its column, its advice."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from lla_plots.advice import steps
from lla_plots.index import write_folder
from lla_plots.page import html
from lla_plots.parts import Action, Section, Shown
from lla_plots.style import new_figure

import lla
from lla.analyses import registry
from lla.analyses.analysis import Analysis, Config, Remedy
from lla.analyses.fields import array, group, metric, verdicts
from lla.estimate import Estimate, Verdict
from tests.plots import build
from tests.plots.reading import Reader


@dataclass(frozen=True)
class Parts:
    names: tuple[str, ...] = array("tensor", ("names",))
    largest: np.ndarray = array("largest absolute weight", ("names",), units="weight")
    many: np.ndarray = array("all of them", ("parameter",))


@dataclass(frozen=True)
class WeightsResult:
    near_zero: Estimate = metric("share of weights near zero")
    table: Parts = group("by tensor", Parts)
    judged: tuple[Verdict, ...] = verdicts("whether too many are")


class WeightsConfig(Config):
    samples: int = 8


def figures(result, caption):
    figure = new_figure(3, 2, caption, title="How large each tensor's weights are")
    figure.subplots().plot(result.table.largest)
    return {"weights_by_tensor": figure}


def own_sections(result):
    shown = Shown("weights_by_tensor", "By tensor", "Two tensors")
    return (Section("weights", "My own question?", "short", "Long.", 1, figures=(shown,)),)


def own_steps(result):
    yield Action("Prune it.", "weights", {"threshold": "0.1"})


WEIGHTS = Analysis(
    name="weights",
    about="Distribution of the weights",
    group="weights",
    config=WeightsConfig,
    result=WeightsResult,
    run="nowhere:run",
    figures=f"{__name__}:figures",
    question="How large are the weights?",
    summary=("near_zero",),
    headline=(("near_zero", "near zero"),),
    remedies=(Remedy(("near_zero",), "samples", 4),),
)


@dataclass
class Point:
    analysis: Analysis
    group: str = "lla.analyses"
    loaded: list = field(default_factory=list)

    def load(self):
        return self.analysis


@pytest.fixture
def register(monkeypatch):
    """Install an analysis as another distribution would, by an entry point."""

    def register(analysis):
        monkeypatch.setattr(registry, "entry_points", lambda group: [Point(analysis)])
        registry.available.cache_clear()

    monkeypatch.setattr("lla_plots.pictures._DPI", 30)
    yield register
    monkeypatch.undo()
    registry.available.cache_clear()


def report(**more):
    result = WeightsResult(
        near_zero=build.sampled(0.25, 0.05, converged=False),
        table=Parts(("first", "<b>second</b>"), np.array([0.5, 2.5]), np.arange(1000.0)),
        judged=(Verdict("weights.share", "at_edge", "a quarter"),),
    )
    bare = {"spectrum": None, "stability": None, "landscape": None, "saliency": None}
    return build.report(weights=result, **bare, **more)


def test_declarations_are_enough_for_a_section(register):
    register(WEIGHTS)
    page = html(report())
    read = Reader(page)
    assert "How large are the weights?" in read.headings
    said = "Share of weights near zero: 0.2500 [0.2000, 0.3000] (95 %, not converged)."
    assert said in read.text
    assert 'data-name="weights_by_tensor"' in page
    assert "How large each tensor's weights are" in read.text  # the figure's title is its caption
    assert "By tensor tensor largest" in read.text  # what the group is about, the table's
    assert "at the edge a quarter" in read.text
    # The small arrays along the same dimension are one table; the large one is described.
    assert "tensor largest absolute weight (weight) first 0.5 <b>second</b> 2.5" in read.text
    assert "<b>second" not in page
    assert "table/many all of them 1,000 0 to 999" in read.text


def test_its_remedy_is_advised_by_the_setting_that_has_no_option_of_its_own(register):
    register(WEIGHTS)
    found = report()
    found.provenance["configuration"]["weights"] = {"samples": 8}
    (first, *_) = steps(found)
    assert first.command == "lla weights runs/net.pt --set weights.samples=32"


def test_it_may_say_its_own_sections_and_steps(register):
    register(
        Analysis(
            **{name: getattr(WEIGHTS, name) for name in WEIGHTS.__slots__}
            | {"sections": f"{__name__}:own_sections", "steps": f"{__name__}:own_steps"}
        )
    )
    read = Reader(html(report()))
    assert read.headings[0] == "My own question?"
    assert "Prune it. lla weights runs/net.pt --threshold 0.1" in read.text


def test_its_headline_is_a_column_of_an_index(register, tmp_path):
    register(WEIGHTS)
    lla.write(report(), tmp_path / "a.lla.h5")
    written = write_folder([str(tmp_path / "a.lla.h5")], tmp_path / "pages")
    read = Reader(written.index.read_text(encoding="utf-8"))
    assert "near zero" in read.text
    assert "0.2500 [0.2000, 0.3000], not converged" in read.text
