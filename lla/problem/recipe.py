"""What a recipe says of model, data, loss and training. Plain values: imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lla.errors import UnstatedError

__all__ = [
    "DataSpec",
    "LossSpec",
    "ModelSpec",
    "Statistics",
    "Training",
    "no_data",
    "no_factory",
    "valid_facts",
]

Statistics = Literal["running", "batch"]
"""What batch norm normalizes by."""


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


def _listed(value: Any) -> Any:
    """One value alone stands for a list of one."""
    return (value,) if isinstance(value, (str, int, float)) else value


def _open(value: Any) -> Any:
    """Nothing, which takes back what a weaker source says."""
    return None if value in (0, "") and value is not False else value


_Keys = Annotated[tuple[str, ...] | dict[str, str], BeforeValidator(_listed)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Pixels = Annotated[int, Field(gt=0)]


class ModelSpec(_Spec):
    """How the network is made: a factory and its arguments."""

    factory: str = Field("", description="file.py:function or package.module:function")
    args: dict[str, Any] = Field(default_factory=dict, description="keyword arguments")
    weights: str = Field(
        "", description="which of the file's weights: ema, or a path of keys as state_dict_ema"
    )
    batch_norm: Statistics = Field(
        "running",
        description="what batch norm normalizes by in the analysed loss: running statistics, or "
        "batch: those of all analysed samples, as one batch",
    )


class DataSpec(_Spec):
    """Where the data is, which part of it is used, and how it is cut into chunks.

    Read in this order: split, classes, limit, then mean and std.
    """

    source: str = Field(
        "",
        description=".npz, .pt, .safetensors or IDX file, folder of images by class, "
        "factory:file.py:function, torchvision:NAME or hf:NAME",
    )
    split: str = Field(
        "", description="keys x_SPLIT and y_SPLIT instead of x and y; sub-folder, or split's name"
    )
    target: str = Field(
        "",
        description="key of the targets, if not y or y_SPLIT; for an IDX file, the file of the "
        "labels, relative to the folder of the images' file",
    )
    inputs: _Keys = Field(
        (), description="keys of the inputs: a list (by position) or argument = key (by name)"
    )
    args: dict[str, Any] = Field(
        default_factory=dict, description="arguments of a factory, of torchvision's or hf's data"
    )
    classes: Annotated[tuple[int, ...], BeforeValidator(_listed)] = Field(
        (), description="only samples with these labels"
    )
    size: Annotated[tuple[_Pixels, _Pixels] | None, BeforeValidator(_open)] = Field(
        None, description="[height, width] that images are resized to, bilinearly"
    )
    limit: Annotated[int | None, Field(gt=0), BeforeValidator(_open)] = Field(
        None, description="analyse a seeded subset of so many samples; 0: all"
    )
    mean: Annotated[tuple[_Finite, ...], BeforeValidator(_listed)] = Field(
        (), description="subtracted from the input: a number, or one per channel (axis 1)"
    )
    std: Annotated[tuple[_Positive, ...], BeforeValidator(_listed)] = Field(
        (), description="the input is divided by it: a number, or one per channel (axis 1)"
    )
    batch_size: int = Field(
        256, gt=0, description="samples per chunk; left out, a short measurement chooses"
    )


class LossSpec(_Spec):
    """The loss, by name with its options or as a function."""

    name: str = Field("cross_entropy", description="cross_entropy, mse, … or file.py:function")
    args: dict[str, Any] = Field(default_factory=dict, description="the loss' options")


class Training(_Spec):
    """How the network was trained: what the stability conditions speak of."""

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] | None = Field(
        None, description="the optimizer's kind"
    )
    lr: _Positive | None = Field(None, description="learning rate at this checkpoint")
    momentum: float = Field(0.0, ge=0, lt=1, description="heavy-ball momentum")
    nesterov: bool = Field(False, description="Nesterov momentum")
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False, description="weight decay")
    betas: tuple[_Finite, _Finite] | None = Field(None, description="Adam's two decay rates")
    eps: _Finite | None = Field(None, description="Adam's damping")
    batch_size: int | None = Field(None, gt=0, description="samples per training step")
    samples: int | None = Field(None, gt=0, description="size of the whole training set")
    epoch: _Finite | None = Field(None, description="epoch of this checkpoint")


def valid_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What of a checkpoint's facts are settings of the training.

    A checkpoint may record what is none (an optimizer's lr of 0 at the end of a schedule, say): it
    is left out.
    """
    return {key: value for key, value in facts.items() if _valid(key, value)}


def _valid(key: str, value: Any) -> bool:
    try:
        Training(**{key: value})
    except ValidationError:
        return False
    return True


def no_factory(path: str, why: str) -> UnstatedError:
    """What is said where a network's code is stated nowhere."""
    return UnstatedError(
        f"{path} {why}: the network's code is not known",
        "name its factory: --model models.py:make_model, or [model] factory in a recipe "
        f"(lla init {path} writes one)",
        "model.factory",
    )


def no_data() -> UnstatedError:
    """What is said where no data is stated."""
    return UnstatedError(
        "no data is named, and the loss depends on it",
        "name a file with x and y: --data digits.npz?split=train, or [data] source in a recipe",
        "data.source",
    )
