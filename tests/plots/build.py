"""Small reports made by hand, and the results they are made of."""

from lla.analyses.baseline import BaselineResult
from lla.report import CheckpointFacts, Report, Stage
from tests.plots.results.alignment import ATTRIBUTES, SIGNED, alignment, matrix
from tests.plots.results.landscape import (
    axes,
    beside,
    landscape,
    lines_of_four,
    topology,
    trajectory,
    way,
    wells,
)
from tests.plots.results.saliency import no_saliency, saliency, saliency_checks
from tests.plots.results.sharpness import sharpness
from tests.plots.results.spectrum import spectrum
from tests.plots.results.stability import batch_sizes, calm, series, stability
from tests.plots.results.values import CAPTION, certified, exact, lines, sampled, texts

__all__ = [
    "ATTRIBUTES",
    "CAPTION",
    "SIGNED",
    "alignment",
    "axes",
    "batch_sizes",
    "beside",
    "calm",
    "certified",
    "exact",
    "landscape",
    "lines",
    "lines_of_four",
    "matrix",
    "no_saliency",
    "report",
    "saliency",
    "saliency_checks",
    "sampled",
    "series",
    "sharpness",
    "spectrum",
    "stability",
    "texts",
    "topology",
    "trajectory",
    "way",
    "wells",
]


def report(path="runs/net.pt", **results):
    results = {
        "baseline": BaselineResult(exact(0.01), exact(1.0), exact(0.02)),
        "spectrum": spectrum(),
        "stability": stability(),
        "sharpness": sharpness(),
        "landscape": landscape(),
        "saliency": saliency(),
        **results,
    }
    return Report(
        checkpoint=CheckpointFacts(path, "0123456789ab" + "0" * 52, "torch", 100),
        results={name: result for name, result in results.items() if result is not None},
        stages={"spectrum": Stage("done", 1.5, {"matvecs": 300})},
        plan={"chunk": 256},
        provenance={
            "versions": {"lla": "0.1.0"},
            "settings": {"seed": 0, "dtype": "float32"},
            "configuration": {
                "run": {"tolerance": 0.02},
                "spectrum": {"max_probes": 200},
                "stability": {"max_batches": 100},
            },
            "origins": {"run.tolerance": "--tolerance"},
            "data": {"source": "digits.npz", "split": "train", "samples": 50, "sha256": "beef"},
        },
    )
