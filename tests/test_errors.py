"""Messages inside sentences: what they quote stays as it is; and what others' words mean."""

from __future__ import annotations

import pytest
from bench.backends.shared import checks

from bench.errors import (
    as_sentence,
    first_line,
    kind_and_line,
    says_out_of_memory,
    without_stop,
)


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("no room.", "no room"),
        ("no room", "no room"),
        ("can't open ../..", "can't open ../.."),
        ("still loading...", "still loading..."),
        ("", ""),
    ],
)
def test_only_a_full_stop_is_taken_away(text: str, bare: str) -> None:
    assert without_stop(text) == bare


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no room", "no room."),
        ("no room.", "no room."),
        ("is it there?", "is it there?"),
        ("still loading...", "still loading..."),
        ("cut sho…", "cut sho…"),
    ],
)
def test_a_sentence_ends_once(text: str, sentence: str) -> None:
    assert as_sentence(text) == sentence


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no room.", "no room"),
        ("\n   \n  no room.  \nnor time", "no room"),
        ("can't open ../..", "can't open ../.."),
        ("", "RuntimeError"),
        (" \n ", "RuntimeError"),
    ],
)
def test_the_first_line_of_an_error_says_something(text: str, line: str) -> None:
    error = RuntimeError(text)
    assert first_line(error) == line
    assert kind_and_line(error) == (line if line == "RuntimeError" else f"RuntimeError: {line}")
    assert checks.first_line is first_line, "adapters say the same"


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a",
        "cuModuleLoadData failed: CUDA_ERROR_OUT_OF_MEMORY",
        "level zero: ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
        "AllocateRawInternal Available memory of 16 is smaller than requested bytes of 32",
        "[GPU] Exceeded max size of memory object allocation: requested 9172942848 bytes",
        "std::bad_alloc",
        "Error Code 2: OutOfMemory (no further information)",
        "HIP failure 2: hipErrorOutOfMemory",
    ],
)
def test_memory_that_ran_out_is_known_in_the_words_of_each_runtime(words: str) -> None:
    assert says_out_of_memory(words)


def test_other_failures_are_not_taken_for_it() -> None:
    for words in ("CUBLAS_STATUS_EXECUTION_FAILED", "no kernel image is available", "a bad file"):
        assert not says_out_of_memory(words)
