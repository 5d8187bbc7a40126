import os

import matplotlib.pyplot as plt
import pytest
from lla_plots import summary
from lla_plots.draw import draw, render, save

from lla.errors import ConfigurationError, ReportError
from tests.plots import build
from tests.plots.build import texts

ALL = [
    "spectrum",
    "layers",
    "stability",
    "landscape",
    "surface",
    "landscape_cuts",
    "saliency",
    "summary",
]


def test_all_figures_in_order():
    assert list(draw(build.report())) == ALL
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (("landscape",), ["landscape", "surface", "landscape_cuts"]),
        (("surface", "layers"), ["layers", "surface"]),
        (("summary",), ["summary"]),
        (("baseline",), []),
    ],
)
def test_only_what_is_asked_for(only, names):
    assert list(draw(build.report(), only)) == names


def test_missing_results_leave_out_their_figures():
    report = build.report(saliency=build.no_saliency(), landscape=None)
    assert list(draw(report)) == ["spectrum", "layers", "stability", "summary"]


def test_the_summary_tells_numbers_and_verdicts():
    figure = summary.figure(build.report())
    said = texts(figure)
    assert "hessian/lambda_max" in said
    assert "17.00 [16.50, 17.50]" in said
    assert "95 %, not converged" in said
    assert "mainly positive" in said
    for words in ("violated", "inconclusive", "not applicable", "why b"):
        assert words in said
    assert len(figure.subfigs) == 3


def test_the_summary_of_a_bare_report():
    nothing = {"spectrum": None, "stability": None, "landscape": None, "saliency": None}
    figure = summary.figure(build.report(**nothing))
    render(figure, dpi=50)
    assert "loss/value" in texts(figure)


def test_saved_files_are_whole_and_repeat(tmp_path):
    report = build.report()
    first = save(report, tmp_path / "a", ("png", "svg", "pdf"), only=("stability",))
    second = save(report, tmp_path / "b", ("png", "svg", "pdf"), only=("stability",))
    assert [path.name for path in first] == ["stability.png", "stability.svg", "stability.pdf"]
    starts = (b"\x89PNG", b"<?xml", b"%PDF")
    for one, other, start in zip(first, second, starts, strict=True):
        assert one.read_bytes().startswith(start)
        assert one.read_bytes() == other.read_bytes()
    assert len(os.listdir(tmp_path / "a")) == 3


def test_a_folder_that_cannot_be_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"):
        save(build.report(), tmp_path / "file" / "folder", only=("stability",))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    (old,) = save(build.report(), tmp_path, only=("stability",))
    before = old.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match="No space left"):
        save(build.report(), tmp_path, only=("stability",))
    assert old.read_bytes() == before
    assert os.listdir(tmp_path) == ["stability.png"]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_only_figures_of_ours_are_replaced(tmp_path, kind):
    report = build.report()
    save(report, tmp_path, (kind,), only=("stability",))
    (ours,) = save(report, tmp_path, (kind,), only=("stability",))
    figure = plt.Figure()
    figure.savefig(tmp_path / f"summary.{kind}")
    foreign = (tmp_path / f"summary.{kind}").read_bytes()
    ours.unlink()
    with pytest.raises(ReportError, match=f"summary.{kind} is there already, and no fig") as seen:
        save(report, tmp_path, (kind,), only=("stability", "summary"))
    assert "another folder" in seen.value.remedy
    assert (tmp_path / f"summary.{kind}").read_bytes() == foreign
    assert os.listdir(tmp_path) == [f"summary.{kind}"]


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "stability.png").mkdir()
    with pytest.raises(ReportError, match="is a folder"):
        save(build.report(), tmp_path, only=("stability",))


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="gif"):
        save(build.report(), tmp_path, ("gif",))
    assert not os.listdir(tmp_path)
