"""The problems that benchmarks share."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import torch
from networks import GPT2, ResNet18
from torch import nn

import lla
from lla import checkpoint
from lla.problem import Problem, build
from lla.settings import gather

__all__ = ["large", "lenet", "sample"]

SAMPLES = Path(__file__).parent.parent / "sample_checkpoints"


class LeNet(nn.Module):
    """The network of the MNIST checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of images (n, 1, 28, 28)."""
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


def lenet(folder: Path, device: str) -> tuple[Problem, dict[str, object]]:
    """LeNet on the first 2,048 MNIST test images, and its reference values."""
    module = LeNet()
    weights = checkpoint.load(folder / "lenet_mnist.pth").tensors
    module.load_state_dict(dict(weights))
    raw = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)[:2048]
    raw = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = np.frombuffer(raw, np.uint8, offset=8)[:2048]
    x = torch.from_numpy(images.astype(np.float32) / 255)
    y = torch.from_numpy(labels.astype(np.int64))
    known = json.loads((folder / "reference.json").read_text())
    problem = lla.Problem(module.to(device), (x, y), device=device)
    return problem, {
        "values": known["la"][:5],
        "smallest": min(known["sa"]),
        "trace": known["trace"][0],
    }


def large(name: str, device: str) -> Problem:
    """What GPUs are for: a ResNet-18 on 512 images, a GPT-2 small on 8 sequences of 128 tokens."""
    torch.manual_seed(0)
    if name == "resnet18":
        module: nn.Module = ResNet18()
        data = (torch.randn(512, 3, 32, 32), torch.randint(0, 10, (512,)))
    else:
        module, tokens = GPT2(), torch.randint(0, 50257, (8, 129))
        data = (tokens[:, :-1], tokens[:, 1:])
    chunk = 512 if name == "resnet18" else 8
    return lla.Problem(module, data, device=device, batch_size=chunk)


def sample(name: str, device: str) -> Problem:
    """The problem of a sample checkpoint."""
    path = SAMPLES / name
    settings = gather(path)
    return build(
        checkpoint.load(path),
        model=settings.model,
        data=settings.data,
        loss=settings.loss,
        training=settings.training,
        folder=Path(),
        device=device,
    )
