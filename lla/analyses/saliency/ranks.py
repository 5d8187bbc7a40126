"""How alike maps are: rank correlations of each image's, and their mean over images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import rankdata

from lla.estimate import Estimate, mean_of

__all__ = ["averaged", "partial_correlations", "rank_correlations", "ranks"]


def ranks(maps: torch.Tensor) -> np.ndarray:
    """Centred ranks of each map's pixels, of length 1, shape (n, pixels); NaN for constant maps."""
    flat = maps.detach().cpu().double().flatten(1).numpy()
    finite = np.isfinite(flat).all(axis=1)
    found = np.full(flat.shape, math.nan)
    if finite.any():
        found[finite] = rankdata(flat[finite], axis=1)
    found -= found.mean(axis=1, keepdims=True)
    length = np.sqrt((found**2).sum(axis=1, keepdims=True))
    made: np.ndarray = found / np.where(length > 0, length, math.nan)
    return made


def rank_correlations(
    one: torch.Tensor, other: torch.Tensor, among: torch.Tensor | None = None
) -> np.ndarray:
    """Spearman's correlation of each image's two maps, shape (n,); NaN where one is constant.

    Args:
        one: Maps, shape (n, H, W).
        other: The maps to compare with, of the same shape.
        among: Which pixels are ranked, of the same shape; fewer than three give NaN.
    """
    if among is not None:
        return np.array(
            [
                rank_correlations(*(part[kept][None, None] for part in (first, second)))[0]
                if int(kept.sum()) > 2
                else math.nan
                for first, second, kept in zip(one, other, among, strict=True)
            ]
        )
    found: np.ndarray = np.clip((ranks(one) * ranks(other)).sum(axis=1), -1.0, 1.0)
    return found


def partial_correlations(one: torch.Tensor, other: torch.Tensor, given: torch.Tensor) -> np.ndarray:
    """Spearman's partial correlation of two maps given a third, image by image, shape (n,).

    (r₁₂ − r₁₃r₂₃) / √((1 − r₁₃²)(1 − r₂₃²)); NaN where a map is constant or is the third.
    """
    straight = rank_correlations(one, other)
    first, second = rank_correlations(one, given), rank_correlations(other, given)
    rest = (1 - first**2) * (1 - second**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(rest > 1e-12, (straight - first * second) / np.sqrt(rest), math.nan)
    made: np.ndarray = np.clip(found, -1.0, 1.0)
    return made


def averaged(values: np.ndarray, confidence: float, what: str) -> Estimate:
    """The mean over images with its interval; those without a value are left out, and counted.

    Args:
        values: A correlation, share or probability for each image, or a difference of such, shape
            (n,); NaN where it does not exist.
        confidence: Of the interval.
        what: What the images' values are, for the method.
    """
    known = values[np.isfinite(values)]
    if known.size < 2:
        return Estimate.missing("fewer than two images have maps that vary")
    method = f"mean over {known.size} of {values.size} images{f', {what}' if what else ''}"
    found = mean_of(known, confidence, method=method)
    # What is averaged lies within ±1, and so does its mean.
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))
