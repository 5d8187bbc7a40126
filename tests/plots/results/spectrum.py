"""The result of a spectrum."""

from dataclasses import replace

import numpy as np

from lla.analyses.spectrum import Density, Layers, SpectrumResult
from lla.estimate import Label
from tests.plots.results.values import certified, exact, sampled


def spectrum(**changes):
    x = np.linspace(-2, 12, 128)
    density = np.exp(-(x**2) / 0.1) + 1e-3 * np.exp(-((x - 10) ** 2) / 0.1)
    nodes = np.array([[-1.0, 0.001, 3.0, 10.0], [-0.8, 0.002, 4.0, 10.0]])
    weights = np.array([[0.1, 0.8, 0.05, 0.05], [0.1, 0.85, 0.04, 0.01]])
    result = SpectrumResult(
        lambda_max=certified(10.0),
        lambda_min=certified(-1.0),
        trace=sampled(17.0),
        frobenius=sampled(11.0),
        effective_rank=sampled(2.4),
        r_e=certified(0.1, 0.001),
        C_t=certified(-0.1, 0.001),
        K_H1=sampled(0.2, 0.05),
        K_H05=sampled(0.3, 0.05),
        near_zero=sampled(0.8, 0.1),
        operator=Label("hessian", "Hessian"),
        type=Label("mainly_positive", "C_t = -0.1"),
        eigenvalues=np.array([10.0, 4.0, -1.0]),
        residuals=np.array([1e-4, 0.5, 1e-3]),
        sampling=np.array([0.1, 0.05, 0.01]),
        converged=np.array([True, False, True]),
        density=Density(x, density, 0.5 * density, 1.5 * density, exact(0.2), nodes, weights),
        layers=Layers(
            ("first", "second"),
            np.array([40, 60]),
            np.array([12.0, 5.0]),
            np.array([11.0, 4.5]),
            np.array([13.0, 5.5]),
            np.array([12 / 17, 5 / 17]),
            np.array([8.0, 3.0]),
            np.array([7.5, 2.5]),
            np.array([8.5, 3.5]),
        ),
        eigenvectors=None,
        diagonal=None,
    )
    return replace(result, **changes)
