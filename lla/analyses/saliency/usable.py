"""Whether what the saliency's settings name is there, before anything long runs."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lla.analyses.analysis import Config
from lla.analyses.saliency import SaliencyConfig
from lla.analyses.saliency.capture import preserved
from lla.analyses.saliency.layers import module_names
from lla.analyses.saliency.pictures import choose
from lla.analyses.saliency.run import no_images
from lla.analyses.saliency.targets import class_targets, classes_to_explain
from lla.problem import Problem
from lla.problem.forward import outputs_if_any

__all__ = ["check"]


def check(problem: Problem, config: SaliencyConfig, _: Mapping[str, Config]) -> None:
    """See that images, layers and the class to explain are there, where there are images at all.

    Raises:
        LlaError: One is not.
    """
    if no_images(problem.data.inputs) or problem.coupled_layers:
        return
    chosen = choose(problem, config, 0)
    module_names(problem.module, config.layers)
    if config.target in ("predicted", "least"):
        return
    with problem.running_statistics(), preserved(problem.module, problem.device), torch.no_grad():
        logits = outputs_if_any(problem.module, chosen.batch)
    if logits is not None and logits.ndim == 2 and logits.shape[1] > 1:
        classes_to_explain(config.target, logits, class_targets(chosen.batch))
