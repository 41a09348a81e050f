"""PyTorch: `eager`, `compile` and `npu` are one backend each, the rest is what they share."""
