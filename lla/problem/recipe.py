"""What a recipe says of model, data, loss and training. Plain values: imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DataSpec", "LossSpec", "ModelSpec", "Training"]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSpec(_Spec):
    """How the network is made: a factory and its arguments."""

    factory: str = Field("", description="file.py:function or package.module:function")
    args: dict[str, Any] = Field(default_factory=dict, description="keyword arguments")


class DataSpec(_Spec):
    """Where the data is, which part of it is used, and how it is cut into chunks."""

    source: str = Field("", description=".npz, .pt or .safetensors file with x and y")
    split: str = Field("", description="keys x_SPLIT and y_SPLIT instead of x and y")
    target: str = Field("", description="key of the targets, if not y or y_SPLIT")
    limit: int | None = Field(None, gt=0, description="analyse a seeded subset of so many samples")
    batch_size: int = Field(256, gt=0, description="samples per chunk of an evaluation")


class LossSpec(_Spec):
    """The loss, by name with its options or as a function."""

    name: str = Field("cross_entropy", description="cross_entropy, mse, … or file.py:function")
    args: dict[str, Any] = Field(default_factory=dict, description="the loss' options")


class Training(_Spec):
    """How the network was trained: what the stability conditions speak of."""

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] | None = Field(
        None, description="the optimizer's kind"
    )
    lr: float | None = Field(None, gt=0, description="learning rate at this checkpoint")
    momentum: float = Field(0.0, ge=0, lt=1, description="heavy-ball momentum")
    nesterov: bool = Field(False, description="Nesterov momentum")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    betas: tuple[float, float] | None = Field(None, description="Adam's two decay rates")
    eps: float | None = Field(None, description="Adam's damping")
    batch_size: int | None = Field(None, gt=0, description="samples per training step")
    samples: int | None = Field(None, gt=0, description="size of the whole training set")
    epoch: float | None = Field(None, description="epoch of this checkpoint")
