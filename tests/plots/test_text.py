import pytest
from lla_plots.text import distinct, fitted, short, text_width, wrapped
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@pytest.mark.parametrize("dpi", [100, 300])
@pytest.mark.parametrize("words", ["a line of words", "λ_max of conv1.weight", "MMMM 0.1"])
def test_the_width_is_that_of_the_drawn_line_or_a_little_more(words, dpi):
    figure = Figure(figsize=(8, 1), dpi=dpi)
    renderer = FigureCanvasAgg(figure).get_renderer()
    drawn = figure.text(0, 0, words, fontsize=6.5, family="DejaVu Sans", parse_math=False)
    inches = drawn.get_window_extent(renderer).width / dpi
    assert inches - 2 / dpi <= text_width(words, 6.5) <= 1.09 * inches


def test_lines_are_no_wider_than_asked_and_lose_nothing():
    words = "one two three four five six seven eight nine ten eleven twelve"
    lines = wrapped(words, 1.0, 8)
    assert len(lines) > 2
    assert all(text_width(line, 8) <= 1.0 for line in lines)
    assert " ".join(lines) == words


def test_lines_beyond_the_last_end_in_an_ellipsis():
    lines = wrapped("one two three four five six seven eight", 1.0, 8, 2)
    assert len(lines) == 2
    assert lines[-1].endswith(" …")
    assert text_width(lines[-1], 8) <= 1.0


def test_a_long_part_of_a_caption_costs_the_others_nothing():
    caption = f"{'name' * 60}.pt · sha256 0123 · seed 0"
    lines = wrapped(caption, 2.0, 6, joint=" · ")
    assert "…" in lines[0]
    assert " ".join(lines).endswith("sha256 0123 · seed 0")
    assert all(text_width(line, 6) <= 2.0 for line in lines)


def test_a_command_is_broken_and_not_cut():
    command = f"lla spectrum {'folder/' * 40}net.pt --probes 4"
    lines = wrapped(command, 2.0, 7, whole=True)
    assert "".join(lines).replace(" ", "") == command.replace(" ", "")
    assert all(text_width(line, 7) <= 2.0 for line in lines)


def test_nothing_has_no_lines():
    assert wrapped("", 2.0, 7) == []


def test_names_are_cut_in_the_middle_to_fit():
    name = "encoder.layers.17.attention.weight"
    cut = fitted(name, 1.2, 8)
    assert text_width(cut, 8) <= 1.2 < text_width(name, 8)
    assert cut.startswith("encoder")
    assert cut.endswith("weight")
    assert short("abcdef", 5) == "ab…ef"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["net.a", "net.b"], ["net.a", "net.b"]),
        (
            [f"the.whole.model.layers.{k}.attention.projection.weight" for k in (1, 2)],
            ["…layers.1…", "…layers.2…"],
        ),
        (["a" * 90], ["a" * 90]),
    ],
)
def test_names_lose_what_all_of_them_have(names, shown):
    assert distinct(names, 0.8, 8) == shown
