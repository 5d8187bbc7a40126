"""The sample networks, through recipes: strokes, weights drawn anew, files of images."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lla
from lla.errors import ConfigurationError, DataError

SAMPLES = Path(__file__).parents[3] / "sample_checkpoints"
CHEAP = {"meta": False, "randomize": 0, "curve_steps": 0, "noise": 0, "sheet": 0}


def saliency_of(name, **settings):
    settings = {"saliency": settings, "run": {"device": "cpu"}}
    return lla.analyze(SAMPLES / name, only=["saliency"], settings=settings)


def test_maps_fall_on_the_strokes_and_weights_decide_them():
    metrics = saliency_of("digits_cnn.pt", images=64).metrics
    ink, uniform = (metrics[f"saliency/{name}"] for name in ("ink_share", "ink_uniform"))
    assert ink.low > uniform.high
    assert "64 of 64 images" in ink.method
    # What is left of magnitudes without the weights is what the image itself has.
    assert metrics["saliency/randomized_beyond"].value < 0.2
    raw, alike = metrics["saliency/randomized"], metrics["saliency/untrained_agreement"]
    assert raw.value > 0.5
    assert alike.low > raw.high
    assert metrics["saliency/image_agreement"].low > 0.5
    assert 0.2 < metrics["saliency/randomized_on_ink"].value < raw.low
    assert metrics["saliency/deletion_gain"].low > 0
    assert metrics["saliency/insertion_gain"].low > 0


@pytest.mark.parametrize("method", ["input_x_gradient", "linear", "grad_cam", "gradient"])
def test_randomized_weights_destroy_signed_maps(method):
    """On the strokes, and gone without the weights, the straight correlation too."""
    settings = {**CHEAP, "randomize": 3, "images": 64, "map": method}
    metrics = saliency_of("digits_cnn.pt", **settings).metrics
    assert abs(metrics["saliency/randomized"].value) < 0.2
    assert metrics["saliency/ink_share"].low > metrics["saliency/ink_uniform"].high


def test_a_stored_map_is_the_product_of_norms(tmp_path):
    """‖a‖‖g‖ from hooks of the test's own, against the HDF5 file."""
    report = saliency_of("digits_cnn.pt", **CHEAP, layers=["conv2", "bn3"], target="true")
    lla.write(report, tmp_path / "r.h5")
    import runpy

    factory = runpy.run_path(str(SAMPLES / "models.py"))["digits_cnn"]
    net = factory(width=16).eval()
    net.load_state_dict(lla.load(SAMPLES / "digits_cnn.pt").tensors)
    with h5py.File(tmp_path / "r.h5") as file:
        found = file["saliency"]
        images, targets = torch.from_numpy(found["images"][()]), found["targets"][()]
        np.testing.assert_array_equal(found["explained"], targets)
        seen = {}

        def keep(name):
            return lambda part, given, output: seen.update({name: output})

        handles = [
            getattr(net, name).register_forward_hook(keep(name)) for name in ("conv2", "bn3")
        ]
        logits = net(images)
        score = logits.gather(1, torch.from_numpy(targets)[:, None]).sum()
        slopes = torch.autograd.grad(score, list(seen.values()))
        for handle in handles:
            handle.remove()
        for (name, a), g in zip(seen.items(), slopes, strict=True):
            by_hand = (a.norm(dim=1) * g.norm(dim=1)).detach().numpy()
            raw = found[f"maps/{name}/raw"][()]
            np.testing.assert_allclose(raw, by_hand, rtol=1e-5, atol=1e-5 * by_hand.max())
            low, high = raw.min((1, 2), keepdims=True), raw.max((1, 2), keepdims=True)
            expected = (raw - low) / (high - low)
            np.testing.assert_allclose(found[f"maps/{name}/normalized"], expected, atol=1e-6)


def test_tokens_of_a_transformer():
    report = saliency_of("digits_vit.safetensors", **CHEAP)
    (layer,) = report.results["saliency"].maps
    assert layer == "blocks.1.qkv"
    assert report.results["saliency"].maps[layer].raw.shape == (16, 4, 4)


@pytest.mark.long
def test_image_files_are_read_as_the_recipe_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = np.load(SAMPLES / "digits.npz")["x_train"]
    for index in (3, 5):
        Image.fromarray(np.round(255 * data[index, 0]).astype(np.uint8)).save(f"{index}.png")
    from_files = saliency_of("digits_cnn.pt", **CHEAP, files=["3.png", "5.png"])
    from_data = saliency_of("digits_cnn.pt", **CHEAP, indices=[3, 5])
    one, other = (report.results["saliency"] for report in (from_files, from_data))
    np.testing.assert_allclose(one.images, other.images, atol=1 / 500)
    # Eight bits move pixels by 1/510, and maps a little; at kinks of ReLU a place more.
    assert np.median(np.abs(one.combined - other.combined)) < 0.002
    for k in range(2):
        assert np.corrcoef(one.combined[k].ravel(), other.combined[k].ravel())[0, 1] > 0.99
    assert one.targets is None
    assert one.indices.tolist() == [-1, -1]
    with pytest.raises(DataError, match=r"no image file 7.png"):
        saliency_of("digits_cnn.pt", files=["7.png"])
    with pytest.raises(ConfigurationError, match="no class labels"):
        saliency_of("digits_cnn.pt", files=["3.png"], target="true")
    with pytest.raises(ConfigurationError, match="image files have no targets"):
        saliency_of("digits_cnn.pt", files=["3.png"], curvature=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pairs": ["conv1x1"]}, "no pair"),
        ({"target": "best"}, "predicted, true, least"),
        ({"map": "lime"}, "[saliency] map"),
    ],
)
def test_settings_that_mean_nothing(settings, words):
    with pytest.raises(ConfigurationError) as told:
        lla.analyze(
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2)),
            (torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)),
            only=["saliency"],
            settings={"saliency": settings},
        )
    assert words in f"{told.value.reason} {told.value.remedy}"
