"""Messages between the scheduler and a worker: one JSON object and any number of arrays each."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any, Optional

import numpy as np

#: Both sides must speak the same version; the first message of a worker says its own.
PROTOCOL = 1

_LENGTH = struct.Struct("!Q")


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


class ChannelClosed(Exception):
    """The other side is gone."""


class ChannelTimeout(Exception):
    """No whole message came before the deadline."""


class Channel:
    """A stream socket that carries whole messages."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, message: dict[str, Any], *arrays: np.ndarray[Any, Any]) -> None:
        """Send ``message`` (JSON-ready) and ``arrays``. Raises `ChannelClosed`."""
        # Not `ascontiguousarray`, which makes a scalar an array of one.
        contiguous = [np.asarray(array, order="C") for array in arrays]
        shapes = [[str(array.dtype), list(array.shape)] for array in contiguous]
        head = json.dumps([message, shapes]).encode()
        try:
            self.sock.sendall(_LENGTH.pack(len(head)) + head)
            for array in contiguous:
                if array.nbytes:
                    self.sock.sendall(_bytes_of(array))
        except (BrokenPipeError, ConnectionError, OSError) as error:
            raise ChannelClosed(str(error)) from error

    def receive(
        self, timeout_s: Optional[float] = None
    ) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
        """The next message and its arrays.

        Raises `ChannelClosed` at the end of the stream and `ChannelTimeout` when ``timeout_s``
        seconds pass first (the channel is of no use after that).
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline))
        message, shapes = json.loads(bytes(self._read(length, deadline)))
        arrays = [self._read_array(dtype, shape, deadline) for dtype, shape in shapes]
        return message, arrays

    def _read_array(
        self, dtype: str, shape: list[int], deadline: Optional[float]
    ) -> np.ndarray[Any, Any]:
        array = np.empty(shape, dtype=np.dtype(dtype))
        if array.nbytes:
            self._fill(_bytes_of(array), deadline)
        return array

    def _read(self, size: int, deadline: Optional[float]) -> bytearray:
        data = bytearray(size)
        self._fill(memoryview(data), deadline)
        return data

    def _fill(self, view: memoryview, deadline: Optional[float]) -> None:
        while len(view):
            try:
                self.sock.settimeout(
                    None if deadline is None else max(deadline - time.monotonic(), 1e-6)
                )
                count = self.sock.recv_into(view)
            except socket.timeout as error:
                raise ChannelTimeout("no answer in time") from error
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if count == 0:
                raise ChannelClosed("the other side closed the channel")
            view = view[count:]

    def close(self) -> None:
        self.sock.close()
