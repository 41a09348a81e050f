"""What one process holds of Ascend devices: pyACL initialised once, a context for each device."""

from __future__ import annotations

import atexit
import contextlib
from typing import Mapping, Optional

from bench.backend import Device
from bench.errors import BenchError, Unavailable

from ..shared.absent import unanswered
from ..shared.huawei import driver_trouble, driver_version, npu_smi, soc_of
from .acl import REPEATED_INIT, Acl, Held

#: `acl.rt.get_mem_info`: which memory (pyACL: aclrtMemAttr).
_HBM, _DDR = 1, 0
#: `acl.rt.memcpy`: the direction.
HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST = 0, 1, 2
_HUGE_PAGES_FIRST = 0


class Npu:
    """A device that is set in this process, with a context that its sessions share.

    Models are executed in the context that they were loaded in, and a context has to be set in
    each thread anew: `use` does that.
    """

    def __init__(self, acl: Acl, index: int) -> None:
        self.acl = acl
        self.index = index
        self.users = 0
        self._held = Held()
        try:
            acl.do("rt.set_device", index)
            self._held.keep(acl.do, "rt.reset_device", index)
            self._context = acl.get("rt.create_context", index)
            self._held.keep(acl.do, "rt.destroy_context", self._context)
        except BaseException:
            self._held.release()
            raise

    def use(self) -> None:
        self.acl.do("rt.set_context", self._context)

    def memory(self) -> Optional[tuple[int, int]]:
        """Free and total bytes of its memory: HBM, or DDR on chips without; None where neither is
        told. Chips differ in how they refuse the other attribute: with a code, or with zeros."""
        for attribute in (_HBM, _DDR):
            with contextlib.suppress(BenchError):
                free, total = self.acl.pair("rt.get_mem_info", attribute)
                if total:
                    return int(free), int(total)
        return None

    def malloc(self, size: int, held: Held) -> int:
        """Device memory, 64-byte aligned, which ``held`` frees."""
        pointer: int = self.acl.get("rt.malloc", size, _HUGE_PAGES_FIRST)
        held.keep(self.acl.do, "rt.free", pointer)
        return pointer

    def malloc_host(self, size: int, held: Held) -> int:
        """Page-locked host memory, which ``held`` frees."""
        pointer: int = self.acl.get("rt.malloc_host", size)
        held.keep(self.acl.do, "rt.free_host", pointer)
        return pointer

    def write(self, pointer: int, room: int, data: bytes, kind: int = HOST_TO_DEVICE) -> None:
        """Copy ``data`` to memory of ``room`` bytes. ``data`` lives until the copy has ended."""
        source = self.acl.handle("util.bytes_to_ptr", data)
        self.acl.do("rt.memcpy", pointer, room, source, len(data), kind)

    def read(self, pointer: int, size: int) -> bytes:
        """``size`` bytes of device memory."""
        held = Held()
        try:
            host = self.malloc_host(size, held)
            self.acl.do("rt.memcpy", host, size, pointer, size, DEVICE_TO_HOST)
            data = self.acl.ask("util.ptr_to_bytes", host, size)
            if not isinstance(data, bytes) or len(data) != size:
                raise BenchError(f"{self.acl.where}: acl.util.ptr_to_bytes gave no {size} bytes.")
        except BaseException:
            held.release()
            raise
        held.close()
        return data

    def close(self) -> None:
        self._held.close()


class Process:
    """pyACL in this process: initialised at most once, finalised when the interpreter ends.

    Not in a destructor, which Huawei advises against (pyACL: `acl.finalize`), not where pyACL was
    initialised by someone else, who goes on using it, and not while a session is open. A worker
    of `bench` closes its session, which resets the device, and ends there without finalising, which
    may wait for seconds.
    """

    def __init__(self) -> None:
        self._acl: Optional[Acl] = None
        self._ours = False
        self._npus: dict[int, Npu] = {}

    def start(self, acl: Acl) -> None:
        if self._acl is not None:
            return
        code = acl.ask("init")
        if code not in (0, REPEATED_INIT):
            trouble = driver_trouble()
            raise Unavailable(
                f"ascend is not available: {acl.error('init', code)}",
                trouble[:1].upper() + trouble[1:] or "See `npu-smi info` and Huawei's log files.",
            )
        self._acl, self._ours = acl, code == 0
        atexit.register(self.end)

    def acquire(self, acl: Acl, index: int) -> Npu:
        """The device, set and with its context current in this thread."""
        self.start(acl)
        if index not in self._npus:
            self._npus[index] = Npu(acl, index)
        npu = self._npus[index]
        npu.users += 1
        return npu

    def release(self, npu: Npu) -> None:
        """Reset the device when the last user lets go of it."""
        npu.users -= 1
        if npu.users == 0:
            del self._npus[npu.index]
            npu.close()

    def end(self) -> None:
        """Finalise pyACL; sessions that are still open have to be closed before."""
        atexit.unregister(self.end)
        acl, ours = self._acl, self._ours
        self._acl, self._ours = None, False
        if acl is not None and ours and not self._npus:
            acl.do("finalize")


#: The one of this process.
PROCESS = Process()


def find_devices(acl: Acl) -> tuple[list[Device], Mapping[str, Unavailable]]:
    """The NPUs that answered, and by id why others didn't. Raises `Unavailable` where none did."""
    PROCESS.start(acl)
    count = acl.get("rt.get_device_count")
    if not count:
        trouble = driver_trouble() or "`npu-smi info` shows what the driver knows."
        raise Unavailable(
            "ascend is not available: pyACL works, but finds no device.",
            trouble[:1].upper() + trouble[1:],
        )
    found, errors = [], {}
    for index in range(count):
        device_id = f"npu:{index}"
        try:
            found.append(touch(acl.at(f"ascend:{device_id}"), index))
        except BenchError as error:
            errors[device_id] = error
    if not found:
        first = next(iter(errors.values()))
        raise Unavailable(f"ascend is not available: {first}") from first
    silent = {
        device_id: Unavailable(
            f"ascend:{device_id} is not available: {error}",
            "`npu-smi info` shows what else uses it.",
        )
        for device_id, error in errors.items()
    }
    return found, unanswered(found, silent)


def touch(acl: Acl, index: int) -> Device:
    """Send bytes to the device and back, and ask what it is."""
    held = Held()
    try:
        npu = PROCESS.acquire(acl, index)
        held.keep(PROCESS.release, npu)
        npu.use()
        sent = bytes(range(64))
        pointer = npu.malloc(len(sent), held)
        npu.write(pointer, len(sent), sent)
        if npu.read(pointer, len(sent)) != sent:
            raise BenchError(f"{acl.where}: data copied to the device came back changed.")
        memory = npu.memory()
        device = Device(
            f"npu:{index}",
            "Huawei",
            find_soc(acl),
            driver_version(),
            memory_bytes=memory[1] if memory else None,
        )
    except BaseException:
        held.release()
        raise
    held.close()
    return device


def device_memory(acl: Acl, index: int) -> Optional[tuple[int, int]]:
    """Free and total bytes of a device's memory; None where it isn't told."""
    held = Held()
    try:
        npu = PROCESS.acquire(acl, index)
        held.keep(PROCESS.release, npu)
        npu.use()
        found = npu.memory()
    except BaseException:
        held.release()
        raise
    held.close()
    return found


def find_soc(acl: Acl) -> str:
    """The chip as `atc` names it, for example ``Ascend910B4``. Raises `Unavailable`."""
    name = acl.ask("get_soc_name") or soc_of(npu_smi())
    if not name:
        raise Unavailable(
            f"{acl.where}: neither acl.get_soc_name nor npu-smi reports the chip.",
            "Name it: ascend:npu:0?soc=Ascend910B4.",
        )
    return str(name)
