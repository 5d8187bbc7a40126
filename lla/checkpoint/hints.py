"""What the names and shapes of a checkpoint's tensors tell of the network they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["architecture_hints"]

Shapes = Mapping[str, tuple[int, ...]]

# Names that well-known implementations give their first parts.
_FAMILIES = (
    (r"(^|\.)layer1\.0\.(conv|bn)1\.", "named like a ResNet (torchvision, timm)"),
    (r"(^|\.)blocks\.0\.attn\.qkv\.", "named like a vision transformer of timm"),
    (r"(^|\.)encoder\.layer\.0\.attention\.self\.query\.", "named like BERT (transformers)"),
    (r"(^|\.)h\.0\.attn\.c_attn\.", "named like GPT-2 (transformers)"),
    (r"(^|\.)layers\.0\.self_attn\.q_proj\.", "named like Llama (transformers)"),
    (r"(^|\.)vit\.encoder\.layer\.0\.", "named like a vision transformer (transformers)"),
    (r"(^|\.)features\.0\.weight$", "named like AlexNet, VGG (torchvision)"),
    (r"(^|\.)features\.denseblock1\.", "named like a DenseNet (torchvision)"),
    (r"(^|\.)down_blocks\.0\.", "named like a diffusion U-Net (diffusers)"),
)
_HEAD = re.compile(r"(^|\.)(head|lm_head|classifier|fc|logits|out|output)\.weight$")
_ATTENTION = re.compile(r"attn|attention|in_proj_weight|q_proj|qkv")


def architecture_hints(shapes: Shapes) -> list[str]:
    """Likely facts, the surest first; each one a phrase.

    Args:
        shapes: Shape of each tensor by its name, in the file's order.
    """
    hints = [text for pattern, text in _FAMILIES if any(re.search(pattern, n) for n in shapes)]
    kinds = _kinds(shapes)
    if kinds:
        hints.append(", ".join(f"{count} × {kind}" for kind, count in kinds.items()))
    weights = {n: s for n, s in shapes.items() if n.endswith("weight") and len(s) >= 2}
    if list(shapes) == sorted(shapes) and len(shapes) > 2:
        # Some formats sort by name: what comes first there is not what the data meets first.
        weights = {n: s for n, s in weights.items() if _HEAD.search(n) and len(s) == 2}
        first = None
    else:
        first = next(iter(weights.values()), None)
    if first and len(first) in (3, 4, 5):
        hints.append(f"first convolution: {first[1]} channels in (per group), {first[0]} out")
    elif first and len(first) == 2:
        name = next(iter(weights))
        tokens = "emb" in name or "wte" in name or "tok" in name
        what = f"inputs of {first[0]} tokens" if tokens else f"inputs of {first[1]} features"
        hints.append(what)
    last = [shape for shape in weights.values() if len(shape) == 2]
    if last:
        hints.append(f"last linear layer gives {last[-1][0]} outputs")
    prefix = _common_prefix(shapes)
    if prefix:
        hints.append(f"all names begin with '{prefix}', which is left out if the network's do not")
    return hints


def _kinds(shapes: Shapes) -> dict[str, int]:
    found: dict[str, int] = {}

    def count(kind: str) -> None:
        found[kind] = found.get(kind, 0) + 1

    for name, shape in shapes.items():
        if name.endswith("running_mean"):
            count("batch norm")
        elif not name.endswith("weight"):
            continue
        elif _ATTENTION.search(name) and len(shape) == 2:
            count("attention matrix")
        elif len(shape) == 4:
            count("2-D convolution")
        elif len(shape) in (3, 5):
            count(f"{len(shape) - 2}-D convolution")
        elif len(shape) == 2:
            count("embedding" if "emb" in name else "linear layer")
    return found


def _common_prefix(shapes: Shapes) -> str:
    firsts = {name.partition(".")[0] for name in shapes if "." in name}
    whole = len(firsts) == 1 and all("." in name for name in shapes)
    return f"{firsts.pop()}." if whole else ""
