"""The result of an alignment between domains."""

from dataclasses import replace

import numpy as np

from lla.analyses.alignment import (
    AlignResult,
    Attributes,
    Calibration,
    Domains,
    Matrix,
    Pair,
    Ranks,
    Tilting,
)
from lla.estimate import Label
from tests.plots.results.values import exact, sampled

SIGNED = ("cosine", "loss", "accuracy")


ATTRIBUTES = {
    "V-REx": "loss",
    "IRM": "slope by a common scale of the logits",
    "IGA": "gradient",
    "Fish": "direction of the gradient",
    "Fishr": "variance of gradients",
    "CORAL": "covariance",
}


def matrix(names, value, sure=0.05, noise=0.4):
    """A matrix between domains, with noise that some of its distances do not exceed."""
    value = np.asarray(value, dtype=float)
    spread = np.full(value.shape, sure)
    return Matrix(
        names, value, value, value, spread, value - sure, value + sure, np.full(value.shape, noise)
    )


def alignment(classes=True, **changes):
    """Three domains, of which the last lies apart."""
    names = ("train", "week 12", "night")
    far = np.array([[0, 0.3, 2.1], [0.3, 0, 1.9], [2.1, 1.9, 0]])
    cosine = np.array([[1, 0.8, -0.4], [0.8, 1, -0.1], [-0.4, -0.1, 1]])
    drop = np.array([[0, -0.05, -0.5], [0.05, 0, -0.45], [0.5, 0.45, 0]])
    matrices = {
        "spectral": far, "frobenius": 1.4 * far, "gradient": far / 2, "cosine": cosine,
        "hgp": far * 3, "diagonal": far / 3, "loss": -3 * drop, "accuracy": drop,
    }  # fmt: skip
    bins = (np.arange(15) + 0.5) / 15
    right = np.stack([bins, np.clip(bins + 0.1, 0, 1), bins**2])
    right[:, :3] = np.nan
    count = np.stack([np.r_[0, 0, 0, np.arange(12)] * n for n in (10, 5, 2)])
    scores = {
        f"{name}{end}": np.array([0.1, 0.2, 0.6]) + shift
        for name in ("nll", "brier", "ece", "aurc")
        for end, shift in (("", 0.0), ("_low", -0.05), ("_high", 0.05))
    }
    share = np.array([0.2, 0.5, 0.3])
    pair = Pair(
        np.arange(3), np.arange(3), np.full((3, 3), 0.5), share, share[::-1],
        np.array([2.1, -0.7]), np.stack([share, share]), np.stack([share, share]),
    )  # fmt: skip
    pairs = ("train, week 12", "train, night", "week 12, night")
    apart = np.array([[0.0, 1.0, 1.0]] * 6)
    tilt = np.where(np.eye(3, dtype=bool), np.nan, 0.9) * np.ones((3, 1, 1))
    named = {
        name: sampled(value)
        for name, value in (
            ("spectral_distance", 2.1), ("frobenius_distance", 2.9), ("gradient_distance", 1.0),
            ("hgp_distance", 6.3), ("diagonal_distance", 0.7), ("gradient_cosine", -0.4),
            ("loss_difference", 1.5), ("accuracy_difference", 0.5), ("hgp_penalty", 0.01),
            ("hutchinson_penalty", 0.02), ("calibration_error", 0.6), ("drop_correlation", 0.9),
        )
    }  # fmt: skip
    named["spectral_distance"] = replace(exact(2.1), sampling_stderr=0.2)
    accuracy = np.array([0.97, 0.92, 0.47]) * (1 if classes else np.nan)
    result = AlignResult(
        **named,
        scope=Label("head, 12 parameters", "closed form"),
        farthest=Label("train and night"),
        domains=Domains(
            names, np.array([1437, 360, 90]), np.array([0.1, 0.2, 1.7]), np.array([0.08, 0.1, 1.3]),
            np.array([0.12, 0.3, 2.1]), accuracy, accuracy - 0.03, accuracy + 0.03,
            np.array([0.1, 0.3, 1.2]), np.array([2.0, 2.2, 4.0]),
        ),
        distances={
            name: matrix(names, value, noise=np.nan if name in SIGNED else 0.4)
            for name, value in matrices.items()
        },
        pairs=dict.fromkeys(pairs, pair),
        attributes=Attributes(
            tuple(ATTRIBUTES), tuple(ATTRIBUTES.values()), pairs, apart + 0.1, apart / 2 + 0.1,
            apart * 0 + 0.4, apart,
        ),
        ranks=Ranks(
            ("spectral",), np.array([0.9]), *(np.array([end]) for end in (0.8, 1.0, 0.3, 1.0))
        ),
        tilting=Tilting(names, np.arange(3), np.ones((3, 3)), tilt, 1 / np.cos(tilt)),
        calibration=Calibration(names, bins, right, right, count, **scores) if classes else None,
    )  # fmt: skip
    return replace(result, **changes)
