"""Huawei's NPUs through CANN's own API: `adapter` is the backend."""
