"""Messages between the scheduler and a worker: one JSON object and any number of arrays each."""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from typing import Any, Callable, Optional, Union

import numpy as np

_LENGTH = struct.Struct("!Q")
#: A head holds names, numbers and the shapes of arrays. The largest that are meant, a worker's
#: packages and the readings of a long search, are some 100 kB.
MOST_HEAD_BYTES = 16 << 20
#: Arrays of so many bytes in all are taken without a look at how much memory is left.
_SMALL_BYTES = 64 << 20
#: Kinds of numpy's types whose bytes mean the same on both sides: numbers, texts, times, and what
#: other packages define on plain bytes (bfloat16). Pointers to objects mean nothing elsewhere.
_KINDS = "biufcSUmMV"


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def can_be_sent(dtype: np.dtype[Any]) -> bool:
    """Whether an array of this type means the same to the other side."""
    return dtype.kind in _KINDS and not dtype.hasobject


def _checked_type(name: object) -> np.dtype[Any]:
    """Raises `ValueError` or `TypeError` for what is no type whose bytes can be sent."""
    if not isinstance(name, str):
        raise TypeError(f"{name!r:.80} is not an array type")
    dtype = np.dtype(name)
    if not can_be_sent(dtype):
        raise ValueError(f"an array of {name!r:.80} can't be sent")
    return dtype


def _checked_shape(shape: object) -> tuple[int, ...]:
    """Raises `ValueError` for what is not a shape."""
    if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"{shape!r:.80} is not a shape")
    return tuple(shape)


class ChannelClosed(Exception):
    """The other side is gone."""


class ChannelTimeout(Exception):
    """No whole message came, or was taken, before the deadline."""


class ChannelGarbled(Exception):
    """What came is no message, and where the next one would begin is unknown."""


class Channel:
    """A stream socket that carries whole messages."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        #: how many bytes the arrays of a message may have, asked when they are many
        self.free_bytes: Optional[Callable[[], int]] = None

    def send(
        self,
        message: dict[str, Any],
        *arrays: np.ndarray[Any, Any],
        timeout_s: Optional[float] = None,
    ) -> None:
        """Send ``message`` (JSON-ready) and ``arrays``.

        Raises `ChannelClosed`, and `ChannelTimeout` when ``timeout_s`` seconds pass before the
        other side has taken all of it (the channel is of no use after either).
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        # Not `ascontiguousarray`, which makes a scalar an array of one.
        contiguous = [np.asarray(array, order="C") for array in arrays]
        shapes = [[str(array.dtype), list(array.shape)] for array in contiguous]
        head = json.dumps([message, shapes]).encode()
        try:
            self._send_all(_LENGTH.pack(len(head)) + head, deadline)
            for array in contiguous:
                if array.nbytes:
                    self._send_all(_bytes_of(array), deadline)
        except socket.timeout as error:
            raise ChannelTimeout("it was not taken in time") from error
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def _send_all(self, data: Union[bytes, memoryview], deadline: Optional[float]) -> None:
        self._limit(deadline)
        self.sock.sendall(data)

    def _limit(self, deadline: Optional[float]) -> None:
        """What the next operation may take: the socket keeps the limit of the one before."""
        left_s = None if deadline is None else max(deadline - time.monotonic(), 1e-6)
        self.sock.settimeout(left_s)

    def receive(
        self, timeout_s: Optional[float] = None
    ) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
        """The next message and its arrays.

        Raises `ChannelClosed` at the end of the stream, `ChannelTimeout` when ``timeout_s``
        seconds pass first and `ChannelGarbled` for what is no message or is too long (the channel
        is of no use after any of them).
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline))
        if length > MOST_HEAD_BYTES:
            raise ChannelGarbled(f"a message can't have {length} bytes without its arrays")
        head = bytes(self._read(length, deadline))
        try:
            message, shapes = json.loads(head)
            plans = [(_checked_type(dtype), _checked_shape(shape)) for dtype, shape in shapes]
        except (ValueError, TypeError, RecursionError) as error:
            raise ChannelGarbled(f"{type(error).__name__}: {error}"[:200]) from error
        self._check_size(sum(dtype.itemsize * math.prod(shape) for dtype, shape in plans))
        try:
            return message, [self._read_array(dtype, shape, deadline) for dtype, shape in plans]
        except (MemoryError, ValueError) as error:
            raise ChannelGarbled(f"its arrays don't fit in memory: {error}"[:200]) from error

    def _check_size(self, size: int) -> None:
        if self.free_bytes is None or size <= _SMALL_BYTES:
            return
        free = self.free_bytes()
        if size > free:
            raise ChannelGarbled(f"its arrays need {size} bytes, but {free} are free")

    def _read_array(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], deadline: Optional[float]
    ) -> np.ndarray[Any, Any]:
        array = np.empty(shape, dtype=dtype)
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
                self._limit(deadline)
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
