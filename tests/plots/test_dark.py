import numpy as np
import pytest
from lla_plots.dark import PAPER, darken
from lla_plots.style import BLUE, new_figure, styled
from matplotlib.colors import to_rgb


def luminance(color):
    """Relative luminance as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@styled
def drawn():
    figure = new_figure(4, 3, "caption")
    plain, mapped = figure.subplots(1, 2)
    plain.plot([1, 2], color=BLUE)
    plain.text(0.5, 1.5, "grey", color="#8A8A8A")
    plain.set_title("title")
    mapped.imshow(np.eye(3))
    mapped.text(1, 1, "on a map", color="white")
    figure.canvas.draw()
    return figure


def test_texts_can_be_read_on_dark_paper():
    figure = drawn()
    darken(figure)
    plain = figure.axes[0]
    assert to_rgb(figure.get_facecolor()) == to_rgb(PAPER)
    assert to_rgb(plain.get_facecolor()) == to_rgb(PAPER)
    texts = [*plain.texts, plain.title, *plain.get_xticklabels(), *figure.texts]
    for text in texts:
        assert contrast(text.get_color(), PAPER) >= 4.5, text
    assert contrast(plain.lines[0].get_color(), PAPER) >= 3
    # A colour stays that colour.
    red, green, blue = to_rgb(plain.lines[0].get_color())
    assert blue > green > red


def test_what_lies_on_a_map_stays():
    figure = drawn()
    darken(figure)
    assert figure.axes[1].texts[0].get_color() == "white"


def test_ticks_that_come_later_are_light_too():
    figure = drawn()
    darken(figure)
    figure.axes[0].set_xlim(0, 100)
    figure.axes[0].set_xticks(range(0, 100, 5))
    for label in figure.axes[0].get_xticklabels():
        assert contrast(label.get_color(), PAPER) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_keeps_contrast_aa(scheme):
    import re
    from importlib.resources import files

    css = (files("lla_plots") / "templates" / "page.css").read_text(encoding="utf-8")
    roots = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#\w+)", roots[scheme == "dark"]))
    for name in ("ink", "soft", "link"):
        assert contrast(colors[name], colors["paper"]) >= 4.5, name
        assert contrast(colors[name], colors["tint"]) >= 4.5, name
    for outcome in ("violated", "at_edge", "consistent", "inconclusive", "not_applicable"):
        assert contrast(colors[outcome], colors[f"{outcome}-tint"]) >= 4.5, outcome
        assert contrast(colors[outcome], colors["paper"]) >= 4.5, outcome
