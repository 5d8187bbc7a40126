"""Reports that are hard to draw, each for a reason."""

import math
from dataclasses import replace

import numpy as np

from lla.analyses.spectrum import Layers
from lla.estimate import Estimate
from tests.plots import build


def layers(count, name):
    """Layers of traces of both signs, some bounds far beyond every value."""
    places = np.arange(count)
    trace = np.where(places % 7, 1.0, -0.3) * 1.2**places
    bound = np.abs(trace) * np.where(places % 5, 1.2, 1e4)
    names = tuple(name.format(place) for place in range(count))
    return Layers(
        names, np.full(count, 9), trace, trace - 0.1, trace + 0.1, trace / trace.sum(),
        np.abs(trace), np.abs(trace) / 2, bound,
    )  # fmt: skip


def spectrum(values, nodes, residual=1e-3):
    """A spectrum of some eigenvalues and a bulk, each node with the same weight."""
    plain = build.spectrum()
    values = np.array(values)
    nodes = np.concatenate((values, nodes))
    ends = nodes.min(), nodes.max()
    x = np.linspace(ends[0] - 0.1 * np.ptp(ends), ends[1] + 0.1 * np.ptp(ends), 512)
    width = 0.01 * np.ptp(ends)
    height = np.exp(-(((x[:, None] - nodes) / width) ** 2) / 2).mean(axis=1) / width / 2.5
    weights = np.full((2, nodes.size), 1 / nodes.size)
    density = replace(
        plain.density, eigenvalue=x, density=height, low=0.8 * height, high=1.2 * height,
        width=build.exact(width), nodes=np.stack([nodes, nodes]), weights=weights,
    )  # fmt: skip
    return replace(
        plain, density=density, eigenvalues=values, residuals=residual * np.abs(values),
        converged=np.abs(values) < 1e3,
    )  # fmt: skip


def plane(loss, **changes):
    """A landscape of a loss given as a function of α and β."""
    plain = build.landscape()
    a, b = np.meshgrid(plain.surface.alpha, plain.surface.beta, indexing="ij")
    values = loss(a, b)
    status = np.where(np.isfinite(values), 1, 2)
    return replace(plain, surface=replace(plain.surface, loss=values, status=status), **changes)


LONG = "model.encoder.layers.{}.self_attention.attention.out_proj.parametrizations.weight"
BULK = np.concatenate((np.geomspace(1e-3, 0.5, 12), -np.geomspace(1e-3, 0.2, 8)))
FAILED = {
    "center_error": build.exact(0.5),
    "curvature_alpha": build.certified(17.0),
    "curvature_beta": build.sampled(-1.0, 3.0, converged=False),
    "quadratic_radius": Estimate(0.3, 0.2, 0.4, math.nan),
}
MAPS = {f"features.{k}.conv": build.saliency(16).maps["a"] for k in range(5)}


def _holes(a, b):
    return np.where((a > 0.2) & (b > 0.3), np.inf, 0.1 + a**2)


CASES = {
    "negative": {"spectrum": spectrum([1.0, -20.0, -50.0], -np.geomspace(0.01, 5, 20))},
    "outlier": {"spectrum": spectrum([1e4, 3.0, -1.0], BULK, 0.04)},
    "one layer": {"spectrum": build.spectrum(layers=layers(1, "weight"))},
    "sixty layers": {"spectrum": build.spectrum(layers=layers(60, LONG))},
    "nothing finite": {"landscape": plane(lambda a, b: a * math.nan)},
    "holes, checks failed": {"landscape": plane(_holes, **FAILED)},
    "eight decades": {"landscape": plane(lambda a, b: 1e-4 * 10 ** (8 * np.hypot(a, b)))},
    "no rate": {"stability": build.stability(lr=None)},
    "one image": {"saliency": build.saliency(1)},
    "sixteen images, five layers": {"saliency": build.saliency(16, maps=MAPS)},
}


def report(case):
    """A report with nothing but the case, of a checkpoint with a long name."""
    kinds = ("baseline", "spectrum", "stability", "landscape", "saliency")
    path = f"runs/{'seed=42,lr=0.1,wd=5e-4,' * 8}epoch=199.ckpt"
    return build.report(path, **{**dict.fromkeys(kinds), **CASES[case]})
