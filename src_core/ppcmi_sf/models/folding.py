"""Networks for inference alone: every batch normalisation folded into the convolution before it."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ppcmi_sf.models.blocks import ConvNorm

Network = TypeVar("Network", bound=nn.Module)


def folded(network: Network) -> Network:
    """A copy that does in one pass what convolution and normalisation do in two.

    The results are the same but for rounding (Markuš, "Fusing batch normalization and
    convolution in runtime", 2018). The copy is neither trained nor saved: its weights have other
    names, and the statistics are gone. Weights keep their device and memory format.
    """
    copy = deepcopy(network).eval()
    for module in list(copy.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, ConvNorm):
                convolution, norm = part
                assert isinstance(convolution, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
    return copy.requires_grad_(False)
