"""Pages in a real browser: they turn, they answer, they ask no network, they print."""

import re
from dataclasses import replace

import numpy as np
import pytest
from lla_plots.index import write_folder
from lla_plots.page import write_html

import lla
from lla.estimate import Label
from tests.plots import build
from tests.plots.browser import Visit, launched

pytestmark = pytest.mark.long

FURTHER = ("_checks", "_classes", "_pairs", "_curvature", "_samples")
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_html(build.report(), tmp_path_factory.mktemp("page") / "net.html")


def camera(plot):
    return plot.evaluate("place => place._fullLayout.scene._scene.getCamera().eye")


def test_the_surface_turns_and_nothing_is_amiss(browser, place):
    with Visit(browser, place) as visit:
        plot = visit.drawn("surface")
        before = camera(plot)
        box = plot.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        visit.page.mouse.move(*middle)
        visit.page.mouse.down()
        visit.page.mouse.move(middle[0] + 120, middle[1] + 40, steps=6)
        visit.page.mouse.up()
        after = camera(plot)
        assert np.hypot(after["x"] - before["x"], after["y"] - before["y"]) > 0.1
        assert visit.complaints == []
        assert visit.requests == [place.as_uri()]


def test_the_surface_turns_by_keys(browser, place):
    with Visit(browser, place) as visit:
        plot = visit.drawn("surface")
        plot.focus()
        angles = []
        for _ in range(2):
            eye = camera(plot)
            angles.append(np.arctan2(eye["y"], eye["x"]))
            visit.page.keyboard.press("ArrowRight")
            visit.page.wait_for_timeout(500)
        # A press is a thirty-sixth of half a turn.
        assert angles[1] - angles[0] == pytest.approx(np.pi / 36, abs=1e-6)


def test_pointing_tells_a_number_of_the_report(browser, place):
    with Visit(browser, place) as visit:
        plot = visit.drawn("spectrum")
        at = plot.evaluate(
            """place => {
              const { xaxis, yaxis } = place._fullLayout;
              const { left, top } = place.getBoundingClientRect();
              const found = place.data.at(-1);
              return [left + xaxis._offset + xaxis.d2p(found.x[0]),
                      top + yaxis._offset + yaxis.d2p(found.y[0])];
            }"""
        )
        visit.page.mouse.move(at[0] - 30, at[1])
        visit.page.mouse.move(*at, steps=4)
        label = visit.page.locator(".hoverlayer .hovertext")
        label.first.wait_for()
        assert "λ = 10" in label.first.text_content()
        assert "residual 0.0001, converged" in label.first.text_content()


def test_no_button_hands_a_figure_to_a_server(browser, place):
    with Visit(browser, place) as visit:
        for name in ("spectrum", "surface"):
            found = visit.drawn(name).locator(".modebar-btn")
            titles = found.evaluate_all("buttons => buttons.map(button => button.dataset.title)")
            assert {title.split()[0] for title in titles} <= {"Zoom", "Pan", "Reset", "Orbital"}
            assert len(titles) >= 4


def test_dark_and_light(browser, place):
    ink = "place => place._fullLayout.font.color"
    paper = "getComputedStyle(document.body).backgroundColor"
    with Visit(browser, place, color_scheme="dark") as visit:
        plot = visit.drawn("spectrum")
        dark = plot.evaluate(ink), visit.page.locator("body").evaluate(f"() => {paper}")
        shown = visit.page.locator("figure[data-name=layers] img").evaluate_all(
            "images => images.map(image => getComputedStyle(image).display)"
        )
        assert shown == ["none", "block"]
        visit.page.emulate_media(color_scheme="light")
        visit.page.wait_for_timeout(1000)
        light = plot.evaluate(ink), visit.page.locator("body").evaluate(f"() => {paper}")
        assert visit.complaints == []
    assert dark == ("#e6e8eb", "rgb(21, 24, 28)")
    assert light == ("#1c1e21", "rgb(255, 255, 255)")


def test_without_scripts_every_figure_is_a_still_image(browser, place):
    with Visit(browser, place, script=False) as visit:
        stills = visit.page.locator("img.still.light")
        assert stills.count() == 8
        assert all(stills.nth(index).is_visible() for index in range(7))
        assert visit.page.locator("noscript p").is_visible()
        assert visit.page.locator("h2").count() == 9


def test_what_saliency_maps_are_worth_is_to_be_seen(browser, tmp_path):
    """Every further figure is a picture, of the paper's colour, and no wider than a phone."""
    result = build.saliency(**build.saliency_checks())
    place = write_html(build.report(saliency=result), tmp_path / "net.html")
    phone = {"width": 390, "height": 844}
    names = [f"saliency{end}" for end in ("", *FURTHER)]
    with Visit(browser, place, viewport=phone, is_mobile=True, color_scheme="dark") as visit:
        for name in names:
            figure = visit.page.locator(f"figure[data-name={name}]")
            figure.scroll_into_view_if_needed()
            still = figure.locator("img.still.dark")
            still.wait_for()
            assert still.evaluate("image => image.complete && image.naturalWidth > 400")
            assert not figure.locator("img.still.light").is_visible()
        assert visit.page.locator("html").evaluate("root => root.scrollWidth") == 390
        words = visit.page.locator("body").inner_text()
        assert "falls sooner than in a random order" in words
        assert "sharpest tenth of them has 22 %" in words
        assert visit.complaints == []
        assert visit.requests == [place.as_uri()]


def test_it_prints_still_figures_on_white_paper_and_cuts_no_table(browser, place):
    with Visit(browser, place, color_scheme="dark") as visit:
        visit.drawn("surface")
        visit.page.emulate_media(media="print")
        shown = visit.page.locator("figure[data-name=surface]").evaluate(
            """figure => [...figure.querySelectorAll(".plot, .still.light, .still.dark")]
              .map(part => getComputedStyle(part).display)"""
        )
        assert shown == ["none", "block", "none"]
        visit.page.set_viewport_size({"width": 690, "height": 1000})
        cut = visit.page.locator(".scroll").evaluate_all(
            "places => places.filter(place => place.scrollWidth > place.clientWidth + 1).length"
        )
        assert cut == 0
        content = visit.page.pdf(format="A4")
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 3


def test_it_fits_a_phone(browser, place):
    phone = {"width": 390, "height": 844}
    with Visit(browser, place, viewport=phone, is_mobile=True, has_touch=True) as visit:
        visit.drawn("spectrum")
        assert visit.page.locator("html").evaluate("root => root.scrollWidth") == 390
        assert visit.complaints == []


def test_names_that_are_tags_do_nothing(browser, tmp_path):
    spectrum, landscape, stability = build.spectrum(), build.landscape(), build.stability()
    layers = replace(spectrum.layers, names=(HOSTILE, f"{HOSTILE}2"))
    report = build.report(
        f"runs/{HOSTILE.replace('/', '')}.pt",
        spectrum=replace(spectrum, layers=layers, type=Label(HOSTILE, HOSTILE)),
        landscape=replace(landscape, axes=replace(landscape.axes, names=(HOSTILE, HOSTILE))),
        stability=replace(
            stability, verdicts=tuple(replace(v, why=HOSTILE) for v in stability.verdicts)
        ),
    )
    with Visit(browser, write_html(report, tmp_path / "page.html")) as visit:
        visit.drawn("surface")
        visit.drawn("spectrum")
        assert visit.complaints == []
        assert visit.page.locator("img:not(.still)").count() == 0
        assert visit.requests == [(tmp_path / "page.html").as_uri()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("batch")
    for name, largest in (("a", 10.0), ("b", 9.0), ("c", 100.0)):
        changes = {"spectrum": build.spectrum(lambda_max=build.certified(largest))}
        if name == "c":
            changes |= {"stability": None, "saliency": None}
        lla.write(build.report(f"runs/{name}.pt", **changes), place / f"{name}.lla.h5")
    names = [str(place / f"{name}.lla.h5") for name in "abc"]
    return write_folder(names, place / "pages")


def test_an_index_sorts_by_number_and_leads_to_pages_that_share_plotly(browser, folder):
    with Visit(browser, folder.index) as visit:
        rows = visit.page.locator("tbody tr th[scope=row] > a:first-child")
        assert rows.all_text_contents() == ["a.pt", "b.pt", "c.pt"]
        sort = visit.page.locator("thead button", has_text="λ")
        sort.click()
        # 9 < 10 < 100 as numbers, and not as texts.
        assert rows.all_text_contents() == ["b.pt", "a.pt", "c.pt"]
        sort.focus()
        visit.page.keyboard.press("Enter")
        assert rows.all_text_contents() == ["c.pt", "a.pt", "b.pt"]
        visit.page.locator("thead button", has_text="learning rate").click()
        assert rows.all_text_contents()[-1] == "c.pt"  # without a value: last
        visit.page.get_by_text("b.pt").first.click()
        visit.drawn("surface")
        assert visit.complaints == []
        names = [address.rpartition("/")[2] for address in visit.requests]
        assert names[:2] == ["index.html", "b.html"]
        assert re.fullmatch(r"plotly-[\d.]+\.min\.js", names[2])
        assert len(names) == 3
