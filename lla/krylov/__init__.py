"""Linear algebra on any symmetric operator: Lanczos, quadrature, trace. Knows no models."""

from lla.krylov.eigen import Eigenpairs, extreme_eigenpairs
from lla.krylov.lanczos import Krylov, LinearOperator, lanczos
from lla.krylov.probes import Probes, TraceSample, draw_probes
from lla.krylov.quadrature import Quadrature, smoothed_density

__all__ = [
    "Eigenpairs",
    "Krylov",
    "LinearOperator",
    "Probes",
    "Quadrature",
    "TraceSample",
    "draw_probes",
    "extreme_eigenpairs",
    "lanczos",
    "smoothed_density",
]
