"""ONNX Runtime, whichever of its builds is installed: `adapter` is the backend."""
