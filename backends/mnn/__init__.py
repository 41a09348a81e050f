"""Alibaba's MNN: `adapter` is the backend."""
