"""Figures and words of the alignment."""

from dataclasses import replace

import numpy as np
import pytest
from lla_plots import alignment
from lla_plots.alignment import embedded
from lla_plots.style import drawn_at
from lla_plots.words.alignment import sections

from tests.plots import build
from tests.plots.build import CAPTION, texts


def test_points_in_a_plane_are_found_again() -> None:
    points = np.random.default_rng(0).normal(size=(6, 2))
    matrix = np.linalg.norm(points[:, None] - points[None], axis=2)
    found, share = embedded(matrix)
    again = np.linalg.norm(found[:, None] - found[None], axis=2)
    assert np.allclose(again, matrix)
    assert share == pytest.approx(1.0)
    # In space, the plane keeps only a part: that of the two largest variances.
    solid = np.diag([3.0, 2.0, 1.0]) @ np.array(
        [[1, -1, 0, 0, 0, 0], [0, 0, 1, -1, 0, 0], [0, 0, 0, 0, 1, -1]]
    )
    matrix = np.linalg.norm(solid.T[:, None] - solid.T[None], axis=2)
    assert embedded(matrix)[1] == pytest.approx((9 + 4) / (9 + 4 + 1))


def test_two_domains_that_do_not_differ_are_drawn() -> None:
    names = ("a", "b")
    zero = build.matrix(names, np.zeros((2, 2)))
    whole = build.alignment()
    two = replace(
        whole.domains,
        **{name: value[:2] for name, value in vars(whole.domains).items()},
    )
    result = replace(whole, domains=two, distances=dict.fromkeys(whole.distances, zero))
    for width in (180.0, 85.0):
        with drawn_at(width):
            for figure in alignment.figures(result, CAPTION).values():
                figure.canvas.draw()


def test_what_the_figures_say() -> None:
    found = alignment.figures(build.alignment(), CAPTION)
    assert set(found) == {"alignment", "alignment_domains", "reliability"}
    said = texts(found["alignment"])
    for word in ("train", "night", "2.1", "no more than what sampling alone gives", "0.8"):
        assert word in said
    assert "ECE 0.6" in texts(found["reliability"])
    # Of the spectral norms only the first pair is within the noise: two marks.
    (dots,) = (line for line in found["alignment"].axes[0].lines)
    assert sorted(zip(*dots.get_data(), strict=True)) == [(0.0, 1.32), (1.0, 0.32)]


def test_without_classes() -> None:
    found = alignment.figures(build.alignment(classes=False), CAPTION)
    assert set(found) == {"alignment", "alignment_domains"}
    assert "share of right predictions" not in texts(found["alignment_domains"])


def test_the_page_says_who_is_apart_and_in_what() -> None:
    first, second = sections(build.alignment())
    assert "train and night are farthest apart" in first.lead
    assert "2 of 3 pairs are farther apart than sampling alone gives" in first.lead
    assert "give or take 0.2" in first.lead
    captions = [table.caption for table in first.tables]
    assert any("What carries the difference" in caption for caption in captions)
    rows = {
        row[0].text: [cell.text for cell in row] for table in first.tables for row in table.rows
    }
    assert rows["CORAL"][3] == "2 of 3: (train, night) and (week 12, night)"
    assert rows["train, night"][1] == "1 (50 %), 2 (30 %), 0 (20 %)"
    assert rows["night"][1] == "52°"
    assert second.question == "Can its confidences be believed?"
    assert "night" in second.answer
    (alone,) = sections(build.alignment(classes=False))
    assert not alone.notes
