"""The networks of the sample checkpoints: plain PyTorch, built by one factory each.

A recipe names a factory as ``models.py:digits_cnn`` and passes its ``args`` as keywords, so every
factory takes keywords with defaults and returns an untrained module.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

DIGIT_CLASSES = 10
IMAGE_SIDE = 8


def digits_mlp(width: int = 40) -> nn.Module:
    """Build a tanh network with two hidden layers.

    Tanh keeps the loss smooth, so that its Hessian exists everywhere; at the default width there
    are few enough parameters (4,650) to write that Hessian down in full.

    Args:
        width: Units of each hidden layer.

    Returns:
        A module from (n, 1, 8, 8) images to (n, 10) outputs.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(IMAGE_SIDE * IMAGE_SIDE, width),
        nn.Tanh(),
        nn.Linear(width, width),
        nn.Tanh(),
        nn.Linear(width, DIGIT_CLASSES),
    )


class DigitsCNN(nn.Module):
    """Three convolutions with batch normalization, at 8x8 and then at 4x4, and a linear head."""

    def __init__(self, width: int) -> None:
        """Make the layers.

        Args:
            width: Channels at 8x8; there are twice as many at 4x4.
        """
        super().__init__()
        # No bias before a batch normalization: its mean would take the bias away again.
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width, DIGIT_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (n, 10) logits of (n, 1, 8, 8) images."""
        hidden = functional.relu(self.bn1(self.conv1(images)))
        hidden = functional.relu(self.bn2(self.conv2(hidden)))
        hidden = functional.relu(self.bn3(self.conv3(hidden)))
        return self.head(hidden.mean(dim=(2, 3)))


def digits_cnn(width: int = 16) -> nn.Module:
    """Build the convolutional network with batch normalization.

    Args:
        width: Channels of the first convolution; 16 makes 14,458 parameters.

    Returns:
        A module from (n, 1, 8, 8) images to (n, 10) logits.
    """
    return DigitsCNN(width)


class Block(nn.Module):
    """A pre-norm transformer block: attention, then a two-layer network, each with a shortcut."""

    def __init__(self, dim: int, heads: int, hidden: int, causal: bool) -> None:
        """Make the layers.

        Args:
            dim: Width of the token vectors.
            heads: Attention heads; divides ``dim``.
            hidden: Hidden units of the two-layer network.
            causal: Whether a token sees only itself and the tokens before it.
        """
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads must divide dim, got dim={dim} and heads={heads}")
        self.heads = heads
        self.causal = causal
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (batch, time, dim) tokens, each mixed with those it attends to."""
        batch, time, dim = tokens.shape
        split = self.qkv(self.norm1(tokens)).view(batch, time, 3, self.heads, dim // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        tokens = tokens + self.proj(mixed.transpose(1, 2).reshape(batch, time, dim))
        return tokens + self.mlp(self.norm2(tokens))


class DigitsViT(nn.Module):
    """A vision transformer on 2x2 patches: 16 patch tokens and a class token."""

    def __init__(self, dim: int, depth: int, heads: int, patch: int) -> None:
        """Make the layers.

        Args:
            dim: Width of the token vectors.
            depth: Number of blocks.
            heads: Attention heads of each block.
            patch: Side of a patch; divides 8.
        """
        super().__init__()
        tokens = (IMAGE_SIDE // patch) ** 2 + 1
        self.patch = nn.Conv2d(1, dim, patch, stride=patch)
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, 4 * dim, False) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, DIGIT_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (n, 10) logits of (n, 1, 8, 8) images, read off the class token."""
        patches = self.patch(images).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(images), -1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


def digits_vit(dim: int = 32, depth: int = 2, heads: int = 4, patch: int = 2) -> nn.Module:
    """Build the vision transformer.

    Args:
        dim: Width of the token vectors.
        depth: Number of blocks.
        heads: Attention heads of each block.
        patch: Side of a patch; divides 8.

    Returns:
        A module from (n, 1, 8, 8) images to (n, 10) logits.
    """
    return DigitsViT(dim, depth, heads, patch)


class CharLM(nn.Module):
    """A causal transformer over characters whose output layer is its embedding, transposed."""

    def __init__(self, vocab: int, context: int, dim: int, depth: int, heads: int) -> None:
        """Make the layers.

        Args:
            vocab: Number of symbols, the padding symbol among them.
            context: Longest sequence.
            dim: Width of the token vectors.
            depth: Number of blocks.
            heads: Attention heads of each block.
        """
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim)
        self.position = nn.Parameter(0.02 * torch.randn(1, context, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, 4 * dim, True) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocab, bias=False)
        # A small start, because the same matrix makes the logits.
        nn.init.normal_(self.embedding.weight, std=0.1)
        # One tensor under two names: the state dict lists it twice, the parameters list it once.
        self.head.weight = self.embedding.weight

    def forward(self, symbols: Tensor) -> Tensor:
        """Return (batch, time, vocab) logits of the symbol after each of (batch, time) symbols."""
        tokens = self.embedding(symbols.long()) + self.position[:, : symbols.shape[1]]
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens))


def charlm(
    vocab: int = 32, context: int = 64, dim: int = 32, depth: int = 2, heads: int = 4
) -> nn.Module:
    """Build the character model, its output head tied to its embedding.

    Args:
        vocab: Number of symbols, the padding symbol among them.
        context: Longest sequence.
        dim: Width of the token vectors.
        depth: Number of blocks.
        heads: Attention heads of each block.

    Returns:
        A module from (batch, time) integer symbols to (batch, time, vocab) logits.
    """
    return CharLM(vocab, context, dim, depth, heads)
