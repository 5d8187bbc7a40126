"""Reports of epochs, with all that an index has to do with: an outlier, a failure, other data."""

from dataclasses import replace

import lla
from lla.batch.index import Entry
from lla.estimate import Estimate
from tests.plots import build

LOSSES = [2.0, 1.5, 1.2, 1.0, 0.9, 0.85, 0.8]
SHARP = [9.0, 9.1, 8.9, 9.05, 8.95, 40.0, 9.0]
HALF = [0.1] * 6 + [50.0]


def written(folder):
    """Seven epochs with the sixth sharp, one of other data, one failed, one damaged."""
    base = build.report(landscape=None, saliency=None, stability=None, sharpness=None)
    for at, (loss, sharp, half) in enumerate(zip(LOSSES, SHARP, HALF, strict=True), start=1):
        lla.write(told(base, f"runs/epoch_{at}.pt", loss, sharp, half), folder / f"e{at}.lla.h5")
    other = told(base, "runs/epoch_8.pt", 0.7, 9.0, 0.1)
    data = {**base.provenance["data"], "sha256": "f00d"}
    lla.write(replace(other, provenance={**base.provenance, "data": data}), folder / "e8.lla.h5")
    (folder / "e9.lla.h5").write_bytes(b"nothing")


def told(base, path, loss, sharp, half):
    results = {
        "baseline": replace(base.results["baseline"], value=build.exact(loss)),
        "spectrum": replace(
            base.results["spectrum"],
            lambda_max=build.certified(sharp, half),
            effective_rank=Estimate.missing("not asked for"),
        ),
    }
    return replace(base, results=results, checkpoint=replace(base.checkpoint, path=path))


def entries():
    found = [
        Entry(f"epoch_{at}", f"runs/epoch_{at}.pt", f"e{at}.lla.h5", "done") for at in range(1, 10)
    ]
    failed = Entry("=cmd|' /C'!A0", "runs/x.pt", "x.lla.h5", "failed", 'no such\nfile, "x"', "look")
    return [*found, failed]
