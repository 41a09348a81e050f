"""IREE: `adapter` is the backend."""
