"""Figures and words of the sharpness measures, and of a training's series."""

from dataclasses import replace

import numpy as np
import pytest
from lla_plots import sharpness, stability
from lla_plots.series import positions, remarks
from lla_plots.style import drawn_at
from lla_plots.words import series as series_words
from lla_plots.words import sharpness as sharpness_words

from lla.estimate import Estimate
from lla.numbers import metric
from tests.plots import build
from tests.plots.build import CAPTION, texts


def marks(figure, kind):
    """Where the marks of a kind stand."""
    found = [line for line in figure.axes[0].lines if line.get_marker() == kind]
    return [float(x) for line in found for x in line.get_xdata()]


def test_sharpness_shows_each_rise_beside_its_second_order():
    figure = sharpness.figures(build.sharpness(), CAPTION)["sharpness"]
    figure.canvas.draw()
    assert marks(figure, "o") == [0.02, 0.03, 0.004, 0.006]
    assert marks(figure, "D") == [0.018, 0.028, 0.0012, 0.005]
    assert marks(figure, "|") == [0.01, 0.015]
    said = texts(figure)
    assert "m-sharpness: the batch size is unknown" in said
    assert "own step" not in said
    ends = [list(line.get_xdata()) for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert [pytest.approx(0.0036), pytest.approx(0.0044)] in ends


def test_a_number_reads_in_the_figure_as_in_the_terminal():
    known = Estimate(1.7565123, 1.7565123 - 4e-14, 1.7565123 + 4e-14)
    figure = sharpness.figures(build.sharpness(sam=known), CAPTION)["sharpness"]
    figure.canvas.draw()
    assert metric(known) in texts(figure)
    assert "1.75651 ± 4e-14" in texts(figure)


def test_what_is_no_rise_is_told_and_not_drawn():
    result = build.sharpness(average=build.sampled(-0.002, 0.0005))
    figure = sharpness.figures(result, CAPTION)["sharpness"]
    figure.canvas.draw()
    assert marks(figure, "o") == [0.02, 0.03, 0.006]
    assert "no rise: average over Gaussian noise" in texts(figure)
    assert "-0.0020" in texts(figure)


def test_without_a_single_measure_nothing_is_drawn():
    missing = Estimate.missing("the loss is not finite at any point of the ball that was tried")
    names = ("sam", "asam", "average", "scaled_average", "m_sharpness")
    result = build.sharpness(**dict.fromkeys(names, missing))
    assert sharpness.figures(result, CAPTION) == {}
    (section,) = sharpness_words.sections(result)
    assert "not known: the loss is not finite" in section.lead


def test_the_page_says_where_the_loss_is_not_quadratic():
    (section,) = sharpness_words.sections(build.sharpness())
    assert "a lower bound" in section.lead or "at least that" in section.lead
    assert "average-case sharpness is 3.3 times its second-order form" in section.lead
    assert "SAM sharpness is" not in section.lead
    table = section.tables[0]
    assert "Kwon" in " ".join(cell.text for row in table.rows for cell in row)
    near = build.sharpness(average=build.sampled(0.0014, 0.0004))
    assert "not quadratic" not in sharpness_words.sections(near)[0].lead


@pytest.mark.parametrize("width", [180.0, 85.0])
def test_a_series_shows_all_three_against_two_over_the_rate(width):
    over = build.series()
    with drawn_at(width):
        figure = stability.figures(build.stability(series=over), CAPTION)["stability_series"]
    figure.canvas.draw()
    above, below = figure.axes
    drawn = {tuple(np.round(line.get_ydata(), 6)) for line in above.lines}
    for values in (over.lambda_max, over.trace, over.batch_sharpness, over.two_over_lr):
        assert tuple(np.round(values, 6)) in drawn
    assert list(below.lines[0].get_ydata()) == list(over.loss)
    assert list(below.lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert above.get_yscale() == "log"
    bars = [path.vertices[:, 1] for c in above.collections for path in c.get_paths()]
    ends = [over.batch_sharpness_low[2], over.batch_sharpness_high[2]]
    assert any(np.allclose(bar, ends) for bar in bars)
    assert "largest stable" not in texts(figure)
    heavy = stability.figures(build.stability(series=replace(over, edge=1.9 * over.edge)), CAPTION)[
        "stability_series"
    ]
    assert "largest stable" in texts(heavy)


def test_a_series_without_rates_epochs_or_some_numbers_is_drawn():
    nothing = np.full(6, np.nan)
    over = build.series(
        epoch=nothing, lr=nothing, edge=nothing, two_over_lr=nothing, batch_sharpness=nothing,
        batch_sharpness_low=nothing, batch_sharpness_high=nothing,
        note=("batch sharpness: unknown; pass one · edge: pass --lr",) * 5 + ("edge: pass --lr",),
    )  # fmt: skip
    figure = stability.figures(build.stability(series=over), CAPTION)["stability_series"]
    figure.canvas.draw()
    said = texts(figure)
    assert "2/η" not in said.replace("against 2/η", "")
    assert "checkpoint, in the given order" in said
    assert "5 checkpoints: batch sharpness: unknown; pass one" in said
    assert "edge: pass --lr" in said.lower()
    assert list(positions(over)[0]) == [1, 2, 3, 4, 5, 6]
    assert "stability_series" not in stability.figures(build.stability(), CAPTION)


def test_the_page_says_where_a_training_went():
    (section,) = series_words.over_training(build.series())
    assert "progressive sharpening" in section.lead
    assert "at the edge of stability" in section.lead
    assert "from 2.2 to 43.73" in section.answer
    assert len(section.tables[0].rows) == 6
    flat = build.series(lambda_max=np.array([9.0, 30.0, 8.0, 6.0, 5.0, 2.0]))
    (section,) = series_words.over_training(flat)
    assert "with 30 at epoch 2 between them" in section.lead
    assert "became flatter" in section.lead
    assert "below the edge" in section.lead
    assert series_words.over_training(None) == ()
    lost = build.series(converged=np.array([True, False] * 3))
    assert remarks(lost) == ["λ_max has not converged at 3 checkpoints"]
