"""Mistakes in calls from Python, in words of ours."""

import pytest
import torch
from torch import nn

import lla
from lla.errors import ConfigurationError

DATA = (torch.ones(4, 3), torch.tensor([0, 1, 0, 1]))


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((nn.Linear, DATA), {}, "the model is the class Linear"),
        ((DATA, nn.Linear(3, 2)), {}, "the model is a tuple, no torch.nn.Module"),
        ((nn.Linear(3, 2, device="meta"), DATA), {}, "on the meta device"),
        ((nn.Linear(3, 2), DATA), {"training": {"LR": 1}}, r"no key 'LR' \(did you mean 'lr'"),
        ((nn.Linear(3, 2), DATA), {"training": 3}, "training is a int"),
        ((nn.Linear(3, 2), DATA), {"settings": {"run": 3}}, "'run' is a int, no table"),
        ((nn.Linear(3, 2), DATA), {"only": "spectrun"}, "mean 'spectrum'"),
    ],
)
def test_calls_of_no_use(arguments, options, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        lla.analyze(*arguments, **options)
    assert caught.value.remedy
    if "only" not in options and "settings" not in options:
        with pytest.raises(ConfigurationError, match=words):
            lla.Problem(*arguments, **options)


def test_a_checkpoints_chunk_is_the_one_that_is_asked_for() -> None:
    report = lla.analyze("sample_checkpoints/digits_mlp.pt", only="baseline", batch_size=123)
    assert report.plan["chunk"] == 123


def test_one_analysis_by_its_name_alone() -> None:
    assert list(lla.analyze(nn.Linear(3, 2), DATA, only="baseline").results) == ["baseline"]
