"""Draw every figure of the gallery anew, each by the command that stands beside it.

    python docs/gallery.py        # or: make gallery

Reports are made in a temporary folder; pictures go to docs/images/gallery, the text to
docs/gallery.md.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent
SAMPLES = DOCS.parent / "sample_checkpoints"
PICTURES = DOCS / "images" / "gallery"
WIDTH = "140"  # mm


@dataclass(frozen=True)
class Exhibit:
    """A command, and the figures of its report that are shown.

    Attributes:
        command: Arguments of ``lla``, in the folder of the samples.
        report: The report it writes.
        figures: Names of figures, with what each shows.
        animated: What its animation shows; "" for none.
    """

    command: str
    report: str
    figures: dict[str, str]
    animated: str = ""


SHIFTS = ("clean", "rot10", "rot20", "rot30", "rot45", "noise10", "noise20", "noise40")

EXHIBITS = (
    Exhibit(
        "analyze digits_cnn.pt",
        "digits_cnn.lla.h5",
        {
            "summary": "One page: how sharp, how sure, stable or not, which layers, what next.",
            "spectrum": "The spectrum: the density with its band, eigenvalues with residuals.",
            "layers": "Which layers carry the curvature: each one's trace with its interval.",
            "stability": "The learning rates that each condition allows, and the one in use.",
            "landscape": "The loss over the plane of the eigenvectors of λ_max and λ_min.",
            "landscape_contour": "The same as contours, with how far the quadratic model holds.",
            "surface": "The same as a surface.",
            "landscape_cuts": "Cuts along both axes, and the quadratic model.",
            "saliency": "Where the images matter to the network: NormGrad maps.",
            "saliency_checks": "What the maps are worth: deletion, insertion, weights drawn anew.",
            "saliency_classes": "The maps that each class would have.",
            "sharpness": "How much the loss rises around the weights, by each measure.",
        },
    ),
    Exhibit(
        "stability trajectory/epoch_10.pt --series 'trajectory/epoch_*.pt' -o series.lla.h5",
        "series.lla.h5",
        {"stability_series": "A training's curvature, epoch by epoch, against 2/η."},
    ),
    Exhibit(
        "align digits_cnn.pt "
        + " ".join(f"--domain {name}=digits_shift.npz?split={name}" for name in SHIFTS)
        + " -o align.lla.h5",
        "align.lla.h5",
        {
            "alignment": "How differently the network sees digits turned and with noise.",
            "alignment_domains": "The same as a map, beside the accuracies.",
        },
    ),
    Exhibit(
        "landscape digits_mlp.pt --axes hessian:0..2 --fresh -o lines.lla.h5",
        "lines.lla.h5",
        {"landscape_lines": "Lines along several eigenvectors."},
    ),
    Exhibit(
        "landscape trajectory/epoch_10.pt --axes pca --checkpoints 'trajectory/epoch_*.pt' "
        "-o pca.lla.h5",
        "pca.lla.h5",
        {"landscape_contour": "The way of a training on the plane of its main directions."},
        animated="The same as an animation, by `lla export pca.lla.h5 --format gif --width 120`.",
    ),
    Exhibit(
        "landscape digits_mlp.pt --metrics margin -o metrics.lla.h5",
        "metrics.lla.h5",
        {"landscape_margin": "Another metric over the plane, from the same passes."},
    ),
    Exhibit(
        "landscape digits_cnn.pt --panel random/filter,random/none,hessian/filter -o panel.lla.h5",
        "panel.lla.h5",
        {
            "landscape_panel": "Hessian axes beside random ones, scaled by filter and not at all, "
            "and Hessian axes scaled by filter: only the first has the sharpest direction."
        },
    ),
    Exhibit(
        "landscape trajectory/epoch_10.pt --axes between --curve bezier "
        "--checkpoints trajectory/epoch_02.pt -o way.lla.h5",
        "way.lla.h5",
        {"landscape_path": "The straight way to another checkpoint, and a curve of lower loss."},
    ),
    Exhibit(
        "landscape digits_mlp.pt --axes random --repeats 5 -o band.lla.h5",
        "band.lla.h5",
        {"landscape_band": "Mean and quantiles over repeated random planes."},
    ),
)


def lla(arguments: list[str], folder: Path) -> None:
    """Run the command in a folder."""
    subprocess.run([sys.executable, "-m", "lla_cli", *arguments], cwd=folder, check=True)


def drawn(exhibit: Exhibit, folder: Path) -> list[str]:
    """Run an exhibit's command, draw its figures, and give its text."""
    lla([*shlex.split(exhibit.command), "--no-html", "--quiet"], folder)
    names = ",".join(exhibit.figures)
    lla(["plot", exhibit.report, "--only", names, "--width", WIDTH, "-o", "figures"], folder)
    lines = [f"## `lla {exhibit.command}`", ""]
    stem = exhibit.report.partition(".")[0]
    for name, words in exhibit.figures.items():
        target = PICTURES / f"{stem}_{name}.png"
        (folder / "figures" / f"{name}.png").replace(target)
        lines += [words, "", f"![{words}]({target.relative_to(DOCS)})", ""]
    if exhibit.animated:
        lla(
            ["export", exhibit.report, "--format", "gif", "--width", "120", "-o", "figures"], folder
        )
        target = PICTURES / f"{stem}.gif"
        (folder / "figures" / target.name).replace(target)
        lines += [exhibit.animated, "", f"![animation]({target.relative_to(DOCS)})", ""]
    return lines


def main() -> None:
    """Make pictures and text."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Gallery",
        "",
        "Every figure with the command that made it, in the folder `sample_checkpoints`; drawn by",
        f"`lla plot REPORT --width {WIDTH}`. `make gallery` makes all of them again.",
        "",
    ]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for path in SAMPLES.iterdir():
            (folder / path.name).symlink_to(path)
        for exhibit in EXHIBITS:
            lines += drawn(exhibit, folder)
        summary = PICTURES / "digits_cnn_summary.png"
        (DOCS / "images" / "summary.png").write_bytes(summary.read_bytes())
    (DOCS / "gallery.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
