"""Make the sample checkpoints and their data again, on a CPU, from fixed seeds.

``python train.py`` makes everything; ``python train.py digits_cnn charlm`` only these two. With one
version of PyTorch on one kind of machine the weights come out equal, run after run.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

# isort: split
# The file beside this one; set apart, since no import sorter can tell that from its name.
import models

HERE = Path(__file__).resolve().parent
SEED = 0
TEST_SAMPLES = 360
NOISY_SHARE = 0.3
ROTATIONS = (10, 20, 30, 45)
NOISES = (10, 20, 40)  # standard deviations, in hundredths of the full grey scale
CONTEXT = 64
IGNORE = -100
# Symbol 0 starts every sentence and fills the rest of its row; the characters follow from 1 on.
ALPHABET = " abcdefghijklmnopqrstuvwxyz.,'-"


@dataclass
class Split:
    """Training and test data of one sample."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


@dataclass
class Plan:
    """How a network is trained by minibatches."""

    optimizer: torch.optim.Optimizer
    lr: float
    batch_size: int
    epochs: int
    # Training stops before the last epoch once this share of the training labels is fitted.
    enough: float = 2.0


# ---------------------------------------------------------------------------------------- data


def digits_arrays() -> dict[str, np.ndarray]:
    """Return scikit-learn's digits in [0, 1], split with the classes in proportion."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=TEST_SAMPLES, stratify=labels, random_state=SEED
    )
    rng = np.random.default_rng(SEED)
    flipped = rng.permutation(len(y_train))[: round(NOISY_SHARE * len(y_train))]
    noisy = y_train.copy()
    # Adding 1 to 9 modulo 10 always leads to another class.
    noisy[flipped] = (noisy[flipped] + rng.integers(1, 10, len(flipped))) % 10
    return {
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
        "y_train_noisy": noisy,
    }


def digits_split(target: str = "y_train") -> Split:
    """Return the digits as tensors, with the training labels named by ``target``."""
    arrays = {key: torch.from_numpy(value) for key, value in digits_arrays().items()}
    return Split(arrays["x_train"], arrays[target], arrays["x_test"], arrays["y_test"])


def write_digits(folder: Path) -> None:
    """Write ``digits.npz``."""
    np.savez_compressed(folder / "digits.npz", **digits_arrays())


def rotated(images: Tensor, degrees: float) -> Tensor:
    """Return the images turned counter-clockwise about their centre, with zeros from outside."""
    angle = torch.deg2rad(torch.tensor(float(degrees)))
    cos, sin, zero = angle.cos(), angle.sin(), torch.tensor(0.0)
    matrix = torch.stack([torch.stack([cos, -sin, zero]), torch.stack([sin, cos, zero])])
    grid = functional.affine_grid(
        matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return functional.grid_sample(images, grid, align_corners=False)


def write_digits_shift(folder: Path) -> None:
    """Write ``digits_shift.npz``: the test images as they are, turned, and with added noise."""
    data = digits_split()
    domains = {"clean": data.x_test}
    for degrees in ROTATIONS:
        domains[f"rot{degrees}"] = rotated(data.x_test, degrees)
    generator = torch.Generator().manual_seed(SEED)
    for percent in NOISES:
        noise = torch.randn(data.x_test.shape, generator=generator)
        # Not clipped to [0, 1]: clipping would turn the noise into something no longer Gaussian.
        domains[f"noise{percent}"] = data.x_test + percent / 100 * noise
    arrays = {}
    for name, images in domains.items():
        # Half precision halves the file; its rounding is far below the smallest shift.
        arrays[f"x_{name}"] = images.numpy().astype(np.float16)
        arrays[f"y_{name}"] = data.y_test.numpy()
    np.savez_compressed(folder / "digits_shift.npz", **arrays)


def charlm_arrays() -> dict[str, np.ndarray]:
    """Return the sentences of ``charlm_text.txt`` as rows of symbols and of next symbols."""
    text = (HERE / "charlm_text.txt").read_text(encoding="utf-8").lower()
    sentences = [part.strip() + "." for part in " ".join(text.split()).split(".") if part.strip()]
    symbols = {character: index for index, character in enumerate(ALPHABET, start=1)}
    inputs = np.zeros((len(sentences), CONTEXT), dtype=np.int64)
    targets = np.full((len(sentences), CONTEXT), IGNORE, dtype=np.int64)
    for row, sentence in enumerate(sentences):
        if len(sentence) > CONTEXT:
            raise ValueError(f"longer than {CONTEXT} characters: {sentence!r}")
        codes = [symbols[character] for character in sentence]
        inputs[row, 1 : len(codes)] = codes[:-1]
        targets[row, : len(codes)] = codes
    order = np.random.default_rng(SEED).permutation(len(sentences))
    test, train = np.split(order, [len(order) // 10])
    return {
        "x_train": inputs[train],
        "y_train": targets[train],
        "x_test": inputs[test],
        "y_test": targets[test],
    }


def write_charlm_data(folder: Path) -> None:
    """Write ``charlm.npz``."""
    np.savez_compressed(folder / "charlm.npz", **charlm_arrays())


# ------------------------------------------------------------------------------------ training


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy over all targets that are not padding."""
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), ignore_index=IGNORE)


def one_hot_mse(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean square error to one-hot targets, over samples and classes alike."""
    return functional.mse_loss(outputs, functional.one_hot(labels, outputs.shape[-1]).to(outputs))


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Return the share of targets, padding aside, that the model in eval mode gets right."""
    model.eval()
    hits = model(inputs).argmax(-1) == targets
    return hits[targets != IGNORE].double().mean().item()


@torch.no_grad()
def report(name: str, model: nn.Module, data: Split, loss: Callable = cross_entropy) -> None:
    """Print the number of parameters, the losses and the accuracies."""
    model.eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    losses = [
        loss(model(x), y).item()
        for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test))
    ]
    train = accuracy(model, data.x_train, data.y_train)
    test = accuracy(model, data.x_test, data.y_test)
    print(
        f"{name}: {parameters} parameters, loss {losses[0]:.5f} / {losses[1]:.5f}, "
        f"accuracy {train:.4f} / {test:.4f} (train / test)",
        flush=True,
    )


def fit(
    model: nn.Module, data: Split, plan: Plan, after_epoch: Callable[[int], None] | None = None
) -> int:
    """Train by minibatches with the cross-entropy and return the number of epochs run."""
    generator = torch.Generator().manual_seed(SEED)
    for epoch in range(1, plan.epochs + 1):
        model.train()
        order = torch.randperm(len(data.x_train), generator=generator)
        for batch in order.split(plan.batch_size):
            plan.optimizer.zero_grad()
            cross_entropy(model(data.x_train[batch]), data.y_train[batch]).backward()
            plan.optimizer.step()
        if after_epoch is not None:
            after_epoch(epoch)
        if plan.enough <= 1 and accuracy(model, data.x_train, data.y_train) >= plan.enough:
            return epoch
    return plan.epochs


def checkpoint(model: nn.Module, data: Split, plan: Plan, epoch: int) -> dict:
    """Return a training checkpoint of tensors and plain Python types only."""
    return {
        "model": dict(model.state_dict()),
        "optimizer": plan.optimizer.state_dict(),
        "epoch": epoch,
        "lr": plan.lr,
        "batch_size": plan.batch_size,
        "samples": len(data.x_train),
    }


def sgd(model: nn.Module, lr: float, batch_size: int, epochs: int, momentum: float = 0.0) -> Plan:
    """Return a plan for stochastic gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    return Plan(optimizer, lr, batch_size, epochs)


def adam(model: nn.Module, lr: float, batch_size: int, epochs: int) -> Plan:
    """Return a plan for Adam."""
    return Plan(torch.optim.Adam(model.parameters(), lr=lr), lr, batch_size, epochs)


# ----------------------------------------------------------------------------------- sharpness


def largest_eigenvalue(loss: Tensor, parameters: list[Tensor], steps: int = 40) -> float:
    """Return the largest Hessian eigenvalue of a loss by the Lanczos method.

    Args:
        loss: The loss, with its graph.
        parameters: What to differentiate by.
        steps: Hessian-vector products to spend.

    Returns:
        The largest eigenvalue of the Hessian in the Krylov space of a fixed random vector.
    """
    gradient = torch.cat(
        [part.flatten() for part in torch.autograd.grad(loss, parameters, create_graph=True)]
    )
    generator = torch.Generator().manual_seed(SEED)
    vector = torch.randn(gradient.shape, generator=generator, dtype=gradient.dtype)
    basis = (vector / vector.norm())[None]
    projected = torch.zeros(steps, steps, dtype=gradient.dtype)
    for step in range(steps):
        products = torch.autograd.grad(gradient @ basis[step], parameters, retain_graph=True)
        image = torch.cat([part.flatten() for part in products])
        projected[: step + 1, step] = basis @ image
        # Twice, because one pass leaves rounding errors that bring back found directions.
        for _ in range(2):
            image = image - basis.T @ (basis @ image)
        basis = torch.cat([basis, (image / image.norm())[None]])
    return torch.linalg.eigvalsh(projected, UPLO="U")[-1].item()


def sharpness(model: nn.Module, data: Split) -> float:
    """Return the largest Hessian eigenvalue of the mean square loss on the training split."""
    # In double precision on a copy, so that measuring neither rounds nor touches the training.
    twin = copy.deepcopy(model).double()
    loss = one_hot_mse(twin(data.x_train.double()), data.y_train)
    return largest_eigenvalue(loss, list(twin.parameters()))


# ------------------------------------------------------------------------------------- samples


def train_digits_mlp(folder: Path) -> None:
    """Train by full-batch gradient descent until the sharpness hovers at 2 / lr."""
    lr, every, settled, last, tolerance = 1.0, 50, 3000, 4900, 0.01
    data = digits_split()
    torch.manual_seed(SEED)
    model = models.digits_mlp()
    plan = sgd(model, lr, len(data.x_train), last)
    log: dict[str, list] = {"step": [], "loss": [], "lambda_max": []}
    for step in range(last + 1):
        loss = one_hot_mse(model(data.x_train), data.y_train)
        if step % every == 0:
            log["step"].append(step)
            log["loss"].append(loss.item())
            log["lambda_max"].append(sharpness(model, data))
            # The sharpness swings about 2 / lr; a step close to it shows the level plainly.
            if step >= settled and abs(log["lambda_max"][-1] * lr / 2 - 1) <= tolerance:
                break
        plan.optimizer.zero_grad()
        loss.backward()
        plan.optimizer.step()
    else:
        raise RuntimeError(f"lambda_max * lr / 2 did not come within {tolerance} of 1")
    torch.save(checkpoint(model, data, plan, step) | {"log": log}, folder / "digits_mlp.pt")
    report("digits_mlp", model, data, one_hot_mse)
    print(f"digits_mlp: step {step}, lambda_max * lr / 2 = {log['lambda_max'][-1] * lr / 2:.4f}")


def train_digits_cnn(folder: Path) -> None:
    """Train the convolutional network by plain stochastic gradient descent."""
    data = digits_split()
    torch.manual_seed(SEED)
    model = models.digits_cnn(width=16)
    plan = sgd(model, lr=0.1, batch_size=64, epochs=25)
    epoch = fit(model, data, plan)
    torch.save(checkpoint(model, data, plan, epoch), folder / "digits_cnn.pt")
    report("digits_cnn", model, data)


def train_digits_cnn_adam(folder: Path) -> None:
    """Train the same network, from the same start, by Adam."""
    data = digits_split()
    torch.manual_seed(SEED)
    model = models.digits_cnn(width=16)
    plan = adam(model, lr=0.002, batch_size=64, epochs=25)
    epoch = fit(model, data, plan)
    torch.save(checkpoint(model, data, plan, epoch), folder / "digits_cnn_adam.pt")
    report("digits_cnn_adam", model, data)


def train_digits_cnn_noisy(folder: Path) -> None:
    """Train a wider network on partly false labels until it knows nearly all of them by heart."""
    data = digits_split("y_train_noisy")
    torch.manual_seed(SEED)
    model = models.digits_cnn(width=24)
    plan = sgd(model, lr=0.05, batch_size=64, epochs=300, momentum=0.9)
    plan.enough = 0.98
    epoch = fit(model, data, plan)
    torch.save(checkpoint(model, data, plan, epoch), folder / "digits_cnn_noisy.pt")
    report("digits_cnn_noisy", model, data)
    true = accuracy(model, data.x_train, digits_split().y_train)
    print(f"digits_cnn_noisy: epoch {epoch}, accuracy on the true training labels {true:.4f}")


def train_digits_vit(folder: Path) -> None:
    """Train the vision transformer by Adam; only its weights are kept."""
    data = digits_split()
    torch.manual_seed(SEED)
    model = models.digits_vit()
    plan = adam(model, lr=0.001, batch_size=64, epochs=60)
    epoch = fit(model, data, plan)
    metadata = {"factory": "models.py:digits_vit", "data": "digits.npz", "epoch": str(epoch)}
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / "digits_vit.safetensors", metadata=metadata)
    report("digits_vit", model, data)


def train_charlm(folder: Path) -> None:
    """Train the character model by Adam."""
    arrays = charlm_arrays()
    data = Split(**{key: torch.from_numpy(value) for key, value in arrays.items()})
    torch.manual_seed(SEED)
    model = models.charlm(vocab=len(ALPHABET) + 1, context=CONTEXT)
    plan = adam(model, lr=0.003, batch_size=16, epochs=15)
    epoch = fit(model, data, plan)
    torch.save(checkpoint(model, data, plan, epoch), folder / "charlm.pt")
    report("charlm", model, data)


def train_trajectory(folder: Path) -> None:
    """Train a narrow convolutional network and keep it after each of ten epochs."""
    data = digits_split()
    torch.manual_seed(SEED)
    model = models.digits_cnn(width=8)
    plan = sgd(model, lr=0.1, batch_size=64, epochs=10)
    (folder / "trajectory").mkdir(exist_ok=True)

    def keep(epoch: int) -> None:
        target = folder / "trajectory" / f"epoch_{epoch:02d}.pt"
        torch.save(checkpoint(model, data, plan, epoch), target)
        report(f"trajectory/epoch_{epoch:02d}", model, data)

    fit(model, data, plan, keep)


SAMPLES: dict[str, Callable[[Path], None]] = {
    "digits": write_digits,
    "digits_shift": write_digits_shift,
    "charlm_data": write_charlm_data,
    "digits_mlp": train_digits_mlp,
    "digits_cnn": train_digits_cnn,
    "digits_cnn_adam": train_digits_cnn_adam,
    "digits_cnn_noisy": train_digits_cnn_noisy,
    "digits_vit": train_digits_vit,
    "charlm": train_charlm,
    "trajectory": train_trajectory,
}


def main() -> None:
    """Make the samples named on the command line."""
    parser = argparse.ArgumentParser(description="Make the sample checkpoints and their data.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(SAMPLES)}")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in SAMPLES:
            parser.error(f"no sample is called {name!r}; there are {', '.join(SAMPLES)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    # One thread, because sums split over threads add up in another order and round otherwise.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in arguments.names or SAMPLES:
        SAMPLES[name](arguments.out)


if __name__ == "__main__":
    main()
