"""The stand-in notices what the real thing would answer with undefined behaviour or a leak.

A stand-in that forgave everything would prove nothing about the adapter.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.backends.ascend.atc import Job, compile_om

from bench.contract.models import write_conv, write_many

from .conftest import STAND_IN

H2D, D2H = 1, 2


class Bare:
    """A program that calls pyACL itself, with nobody who checks for it."""

    def __init__(self, acl: Any, om: Path, geared_om: Path) -> None:
        self.acl = acl
        self.om = om
        self.geared_om = geared_om

    def open(self) -> None:
        self.acl.init()
        self.acl.rt.set_device(0)
        self.context, _ = self.acl.rt.create_context(0)
        self.stream, _ = self.acl.rt.create_stream()

    def load(self, om: Path | None = None) -> None:
        """A model and its description."""
        self.model, ret = self.acl.mdl.load_from_file(str(om or self.om))
        assert ret == 0
        self.desc = self.acl.mdl.create_desc()
        assert self.acl.mdl.get_desc(self.desc, self.model) == 0

    def dataset(self, kind: str, short: int = 0) -> int:
        """A dataset with memory for each input or output, ``short`` bytes less than needed."""
        mdl = self.acl.mdl
        made: int = mdl.create_dataset()
        for index in range(getattr(mdl, f"get_num_{kind}s")(self.desc)):
            size = getattr(mdl, f"get_{kind}_size_by_index")(self.desc, index) - short
            pointer, _ = self.acl.rt.malloc(size, 0)
            mdl.add_dataset_buffer(made, self.acl.create_data_buffer(pointer, size))
        return made


@pytest.fixture
def bare(toolkit: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    folder = tmp_path_factory.mktemp("bare")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in toolkit.items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(STAND_IN))
        import acl

        many, conv = write_many(folder), write_conv(folder)
        plain = Job(many.file.onnx, "many", "StandIn910B4", shapes=many.shapes(3))
        geared = Job(conv.file.onnx, "conv", "StandIn910B4", shapes=conv.shapes(3), gears=(1, 3))
        acl.reset()
        yield Bare(acl, compile_om(plain), compile_om(geared))


def frees_twice(bare: Bare) -> None:
    bare.open()
    pointer, _ = bare.acl.rt.malloc(64, 0)
    assert bare.acl.rt.free(pointer) == 0
    assert bare.acl.rt.free(pointer) != 0


def frees_the_inside_of_a_block(bare: Bare) -> None:
    bare.open()
    pointer, _ = bare.acl.rt.malloc(64, 0)
    assert bare.acl.rt.free(pointer + 8) != 0


def uses_a_stream_after_it_was_destroyed(bare: Bare) -> None:
    bare.open()
    bare.acl.rt.destroy_stream(bare.stream)
    assert bare.acl.rt.synchronize_stream(bare.stream) != 0


def frees_device_memory_as_host_memory(bare: Bare) -> None:
    bare.open()
    pointer, _ = bare.acl.rt.malloc(64, 0)
    assert bare.acl.rt.free_host(pointer) != 0


def finalises_with_memory_left(bare: Bare) -> None:
    bare.open()
    bare.acl.rt.malloc(64, 0)
    bare.acl.finalize()


def resets_a_device_more_often_than_set(bare: Bare) -> None:
    bare.open()
    bare.acl.rt.destroy_stream(bare.stream)
    bare.acl.rt.destroy_context(bare.context)
    assert bare.acl.rt.reset_device(0) == 0
    assert bare.acl.rt.reset_device(0) != 0


def destroys_the_context_before_its_stream(bare: Bare) -> None:
    bare.open()
    bare.acl.rt.destroy_context(bare.context)


def resets_the_device_before_the_context(bare: Bare) -> None:
    bare.open()
    bare.acl.rt.destroy_stream(bare.stream)
    bare.acl.rt.reset_device(0)


def initialises_again_after_finalising(bare: Bare) -> None:
    bare.acl.init()
    assert bare.acl.finalize() == 0
    assert bare.acl.init() != 0


def copies_too_much(bare: Bare) -> None:
    bare.open()
    pointer, _ = bare.acl.rt.malloc(4, 0)
    data = bytes(8)
    assert bare.acl.rt.memcpy(pointer, 8, bare.acl.util.bytes_to_ptr(data), 8, H2D) != 0


def reads_behind_the_end_of_its_bytes(bare: Bare) -> None:
    bare.open()
    pointer, _ = bare.acl.rt.malloc(64, 0)
    data = bytes(8)
    assert bare.acl.rt.memcpy(pointer, 64, bare.acl.util.bytes_to_ptr(data), 64, H2D) != 0


def lets_the_bytes_go_before_they_are_copied(bare: Bare) -> None:
    bare.open()
    pointer, _ = bare.acl.rt.malloc(8, 0)
    source = bare.acl.util.bytes_to_ptr(np.arange(8, dtype=np.int8).tobytes())
    assert bare.acl.rt.memcpy(pointer, 8, source, 8, H2D) != 0


def copies_in_the_wrong_direction(bare: Bare) -> None:
    bare.open()
    pointer, _ = bare.acl.rt.malloc(8, 0)
    data = bytes(8)
    assert bare.acl.rt.memcpy(pointer, 8, bare.acl.util.bytes_to_ptr(data), 8, D2H) != 0


def copies_pageable_memory_asynchronously(bare: Bare) -> None:
    bare.open()
    pointer, _ = bare.acl.rt.malloc(32, 0)
    data = bytes(64)
    aligned = bare.acl.util.bytes_to_ptr(data) - 32
    bare.acl.machine.lent[aligned] = data
    assert bare.acl.rt.memcpy_async(pointer, 32, aligned, 32, H2D, bare.stream) != 0


def frees_memory_that_a_copy_waits_for(bare: Bare) -> None:
    bare.open()
    device, _ = bare.acl.rt.malloc(64, 0)
    host, _ = bare.acl.rt.malloc_host(64)
    assert bare.acl.rt.memcpy_async(device, 64, host, 64, H2D, bare.stream) == 0
    assert bare.acl.rt.free_host(host) != 0


def destroys_a_stream_that_has_work(bare: Bare) -> None:
    frees_memory_that_a_copy_waits_for(bare)
    bare.acl.machine.misuses.clear()
    assert bare.acl.rt.destroy_stream(bare.stream) != 0


def unloads_twice(bare: Bare) -> None:
    bare.open()
    bare.load()
    assert bare.acl.mdl.unload(bare.model) == 0
    assert bare.acl.mdl.unload(bare.model) != 0


def executes_an_unloaded_model(bare: Bare) -> None:
    bare.open()
    bare.load()
    datasets = bare.dataset("input"), bare.dataset("output")
    bare.acl.mdl.unload(bare.model)
    assert bare.acl.mdl.execute(bare.model, *datasets) != 0


def unloads_in_another_context(bare: Bare) -> None:
    bare.open()
    bare.load()
    bare.acl.rt.create_context(0)
    assert bare.acl.mdl.unload(bare.model) != 0


def gives_too_small_a_buffer(bare: Bare) -> None:
    bare.open()
    bare.load()
    assert bare.acl.mdl.execute(bare.model, bare.dataset("input", 8), bare.dataset("output")) != 0


def gives_a_dataset_that_lacks_a_buffer(bare: Bare) -> None:
    bare.open()
    bare.load()
    empty = bare.acl.mdl.create_dataset()
    assert bare.acl.mdl.execute(bare.model, empty, bare.dataset("output")) != 0


def runs_a_model_on_two_streams_at_once(bare: Bare) -> None:
    bare.open()
    bare.load()
    other, _ = bare.acl.rt.create_stream()
    datasets = bare.dataset("input"), bare.dataset("output")
    assert bare.acl.mdl.execute_async(bare.model, *datasets, bare.stream) == 0
    assert bare.acl.mdl.execute_async(bare.model, *datasets, other) != 0


def makes_a_buffer_larger_than_its_memory(bare: Bare) -> None:
    bare.open()
    pointer, _ = bare.acl.rt.malloc(64, 0)
    assert bare.acl.create_data_buffer(pointer, 128) == 0


def destroys_a_dataset_twice(bare: Bare) -> None:
    bare.open()
    dataset = bare.acl.mdl.create_dataset()
    assert bare.acl.mdl.destroy_dataset(dataset) == 0
    assert bare.acl.mdl.destroy_dataset(dataset) != 0


def reads_a_description_of_nothing(bare: Bare) -> None:
    bare.open()
    assert bare.acl.mdl.get_num_inputs(bare.acl.mdl.create_desc()) == 0


MISUSES: list[tuple[Callable[[Bare], None], str]] = [
    (frees_twice, "released twice"),
    (frees_the_inside_of_a_block, "is no device memory"),
    (uses_a_stream_after_it_was_destroyed, "used after it was released"),
    (frees_device_memory_as_host_memory, "is no host memory"),
    (finalises_with_memory_left, "leak at finalize: device memory"),
    (resets_a_device_more_often_than_set, "reset more often than set"),
    (destroys_the_context_before_its_stream, "context destroyed before stream"),
    (resets_the_device_before_the_context, "device reset before context"),
    (initialises_again_after_finalising, "init after finalize"),
    (copies_too_much, "8 bytes are copied into 4"),
    (reads_behind_the_end_of_its_bytes, "64 bytes are read from 8"),
    (lets_the_bytes_go_before_they_are_copied, "gone before they were copied"),
    (copies_in_the_wrong_direction, "is no host memory"),
    (copies_pageable_memory_asynchronously, "that malloc_host did not make"),
    (frees_memory_that_a_copy_waits_for, "released while a copy waits"),
    (destroys_a_stream_that_has_work, "destroyed while work waits"),
    (unloads_twice, "after it was unloaded"),
    (executes_an_unloaded_model, "after it was unloaded"),
    (unloads_in_another_context, "unloaded in another context"),
    (gives_too_small_a_buffer, "bytes for"),
    (gives_a_dataset_that_lacks_a_buffer, "0 buffers for 2"),
    (runs_a_model_on_two_streams_at_once, "on two streams at once"),
    (makes_a_buffer_larger_than_its_memory, "a buffer of 128 bytes over 64"),
    (destroys_a_dataset_twice, "released twice"),
    (reads_a_description_of_nothing, "describes nothing yet"),
]


@pytest.mark.parametrize(
    ("misuse", "words"), MISUSES, ids=[misuse.__name__ for misuse, _ in MISUSES]
)
def test_a_misuse_is_noticed(bare: Bare, misuse: Callable[[Bare], None], words: str) -> None:
    misuse(bare)
    found = bare.acl.machine.misuses
    assert any(words in line for line in found), found


def test_nothing_works_before_init(bare: Bare) -> None:
    assert bare.acl.rt.set_device(0) == 100001
    assert bare.acl.rt.malloc(64, 0) == (0, 100001)


def test_a_second_init_says_so(bare: Bare) -> None:
    assert bare.acl.init() == 0
    assert bare.acl.init() == 100002


def test_a_context_is_that_of_one_thread(bare: Bare) -> None:
    bare.open()
    codes = []
    thread = threading.Thread(target=lambda: codes.append(bare.acl.rt.malloc(64, 0)[1]))
    thread.start()
    thread.join()
    assert codes == [107002]


def test_the_recent_message_is_cleared_when_it_is_read(bare: Bare) -> None:
    bare.acl.init()
    assert bare.acl.get_recent_err_msg() is None
    assert bare.acl.rt.set_device(7) == 107001
    assert "device id 7" in bare.acl.get_recent_err_msg()
    assert bare.acl.get_recent_err_msg() is None


def test_outputs_are_garbage_until_somebody_waits(bare: Bare) -> None:
    bare.open()
    bare.load()
    inputs, outputs = bare.dataset("input"), bare.dataset("output")
    assert bare.acl.mdl.execute_async(bare.model, inputs, outputs, bare.stream) == 0
    buffer = bare.acl.machine.things[outputs].facts["buffers"][0]
    memory = bare.acl.machine.things[bare.acl.get_data_buffer_addr(buffer)].facts["data"]
    assert set(memory.tolist()) == {0x5A}
    assert bare.acl.rt.synchronize_stream(bare.stream) == 0
    assert set(memory.tolist()) != {0x5A}


def test_a_model_with_gears_says_minus_one_and_wants_a_batch(bare: Bare) -> None:
    bare.open()
    bare.load(bare.geared_om)
    mdl = bare.acl.mdl
    assert mdl.get_input_dims(bare.desc, 0)[0]["dims"] == [-1, 3, 16, 16]
    assert mdl.get_input_size_by_index(bare.desc, 0) == 3 * 3 * 16 * 16 * 4
    assert mdl.get_dynamic_batch(bare.desc) == ({"batchCount": 2, "batch": [1, 3]}, 0)
    index, _ = mdl.get_input_index_by_name(bare.desc, "ascend_mbatch_shape_data")
    inputs, outputs = bare.dataset("input"), bare.dataset("output")
    assert mdl.execute(bare.model, inputs, outputs) == 145013
    assert mdl.get_cur_output_dims(bare.desc, 0)[0]["dims"] == [3, 10]
    assert mdl.set_dynamic_batch_size(bare.model, inputs, index, 2) == 145013
    assert mdl.set_dynamic_batch_size(bare.model, inputs, index, 1) == 0
    assert mdl.get_cur_output_dims(bare.desc, 0)[0]["dims"] == [1, 10]
    assert mdl.execute(bare.model, inputs, outputs) == 0


def test_the_four_shapes_of_return_values(bare: Bare) -> None:
    bare.open()
    assert bare.acl.rt.set_context(bare.context) == 0
    assert bare.acl.rt.get_device_count() == (1, 0)
    free, total, ret = bare.acl.rt.get_mem_info(1)
    assert 0 < free <= total
    assert ret == 0
    assert isinstance(bare.acl.mdl.create_desc(), int)
    assert "acl" in sys.modules
