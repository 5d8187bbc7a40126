"""Linear algebra on any symmetric operator: Lanczos, quadrature, trace. Knows no models."""

from lla.krylov.basis import Basis, orthonormalized
from lla.krylov.eigen import Eigenpairs, Search, certified, extreme_eigenpairs
from lla.krylov.known import Known
from lla.krylov.lanczos import Krylov, Restart, block_lanczos
from lla.krylov.operator import Difference, LinearOperator, Restricted, Scaled
from lla.krylov.probes import ProbePlan, Probes, TraceSample, draw_probes
from lla.krylov.quadrature import Quadrature, gauss_rule, smoothed_density
from lla.krylov.trace import hutchpp, xtrace

__all__ = [
    "Basis",
    "Difference",
    "Eigenpairs",
    "Known",
    "Krylov",
    "LinearOperator",
    "ProbePlan",
    "Probes",
    "Quadrature",
    "Restart",
    "Restricted",
    "Scaled",
    "Search",
    "TraceSample",
    "block_lanczos",
    "certified",
    "draw_probes",
    "extreme_eigenpairs",
    "gauss_rule",
    "hutchpp",
    "orthonormalized",
    "smoothed_density",
    "xtrace",
]
