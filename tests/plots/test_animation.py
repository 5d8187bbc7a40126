"""Animations of a trajectory, read back frame by frame."""

import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from lla_plots import animation, landscape, maps
from lla_plots.animation import animate, frames
from PIL import Image

from lla.analyses.landscape import LandscapeResult
from lla.errors import ConfigurationError, NothingToDoError, ReportError
from lla.report import Report
from tests.plots import build
from tests.plots.build import CAPTION, texts

SHORT = ("a.pt", "b.pt", "a_checkpoint_of_a_long_name_that_fills_more_than_a_line.pt", "d.pt")


def landscape_with(count: int = 4) -> LandscapeResult:
    return build.landscape(trajectory=build.trajectory(count, names=SHORT[:count]))


def report_with(count: int = 4) -> Report:
    return build.report(landscape=landscape_with(count))


def test_each_frame_shows_one_checkpoint_more_and_the_last_the_still_figures_way() -> None:
    result = landscape_with()
    ways, said = [], []
    for figure in frames(result, CAPTION):
        (line,) = [line for line in figure.axes[0].lines if line.get_gid() == maps.TRAJECTORY]
        ways.append(np.array(line.get_data()).T)
        said.append(texts(figure))
    assert [len(way) for way in ways] == [1, 2, 3, 4]
    still = landscape.figures(result, CAPTION)["landscape_contour"].axes[0]
    (line,) = [line for line in still.lines if line.get_gid() == maps.TRAJECTORY]
    np.testing.assert_array_equal(ways[-1], np.array(line.get_data()).T)
    np.testing.assert_array_equal(ways[1], result.trajectory.coordinates[:2])
    assert "2 of 4 · b.pt · epoch 1 · loss 1.5 · on the plane 1.6" in said[1]
    assert "sha256 0123456789ab" in said[0]


@pytest.mark.parametrize("width", [180.0, 85.0])
def test_a_gif_has_a_frame_for_each_checkpoint(tmp_path: Path, width: float) -> None:
    path = animate(report_with(), "gif", tmp_path / "new", "net", width)
    assert path == tmp_path / "new" / "net.gif"
    assert [file.name for file in path.parent.iterdir()] == ["net.gif"]
    shown = []
    with Image.open(path) as file:
        assert file.n_frames == 4
        # 110 dots per inch, made even.
        assert file.size[0] == 2 * round(width / 25.4 * 110 / 2 + 0.25)
        assert file.info["loop"] == 0
        assert b"sha256 0123456789ab" in file.info["comment"]
        for index in range(4):
            file.seek(index)
            assert file.info["duration"] == (2500 if index == 3 else 500)
            shown.append(np.asarray(file.convert("RGB"), dtype=int))
    # Everything but the way, its head and the words above the axes stays where it is.
    for before, after in pairwise(shown):
        changed = np.abs(before - after).max(axis=2) > 40
        assert 20 < changed.sum() < 0.05 * changed.size


def test_a_film_is_what_ffmpeg_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in ffmpeg's place notes its command and every byte."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "data = sys.stdin.buffer.read()\n"
        "open(sys.argv[-1], 'w').write(f'{len(data)} ' + ' '.join(sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    path = animate(report_with(), "mp4", tmp_path, "net")
    count, *arguments = path.read_text().split()
    width, height = map(int, arguments[arguments.index("-s") + 1].split("x"))
    assert width % 2 == height % 2 == 0
    # Four frames of half a second, the last for two seconds more.
    assert int(count) == (4 + 4) * 3 * width * height
    assert arguments[arguments.index("-framerate") + 1] == "2.0"

    before = path.read_bytes()
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no encoder')\n")
    with pytest.raises(ReportError, match="ffmpeg could not write the film: no encoder"):
        animate(report_with(), "mp4", tmp_path, "net")
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bin", "net.mp4"]

    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="mp4 needs the program ffmpeg") as told:
        animate(report_with(), "mp4", tmp_path, "net")
    assert "--format gif" in told.value.remedy


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffmpeg is not installed")
def test_a_film_plays_as_long_as_its_frames(tmp_path: Path) -> None:
    path = animate(report_with(), "mp4", tmp_path, "net")
    asked = ["-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
    said = subprocess.run(["ffprobe", "-v", "error", *asked], capture_output=True, check=True)
    assert float(said.stdout) == pytest.approx(4.0, abs=0.1)


def test_what_has_no_trajectory_is_told(tmp_path: Path) -> None:
    for results in ({"landscape": build.landscape()}, {"landscape": None}):
        with pytest.raises(NothingToDoError, match="no trajectory") as told:
            animate(build.report(**results), "gif", tmp_path, "net")
        assert "--axes pca" in told.value.remedy
    with pytest.raises(ConfigurationError, match="did you mean 'gif'"):
        animate(report_with(), "giff", tmp_path, "net")
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.gif").write_bytes(b"former")

    def broken(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(animation, "_gif", broken)
    with pytest.raises(ReportError, match="No space left"):
        animate(report_with(2), "gif", tmp_path, "net")
    assert [file.name for file in tmp_path.iterdir()] == ["net.gif"]
    assert (tmp_path / "net.gif").read_bytes() == b"former"
