"""What is read from ONNX Runtime's profile and from what it prints."""

from __future__ import annotations

import os
from typing import Any

import pytest
from bench.backends.onnxruntime.messages import cause_in, describe, reasons
from bench.backends.onnxruntime.profile import computed_precision, time_share
from bench.backends.shared.captured import captured_stderr


def kernel(name: str, provider: str, us: int, op: str = "Conv", kind: str = "float") -> Any:
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "dur": us,
        "args": {"provider": provider, "op_name": op, "input_type_shape": [{kind: [1]}]},
    }


def run(us: int) -> Any:
    return {"cat": "Session", "name": "model_run", "dur": us}


CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def test_the_share_is_of_the_kernels_time_without_the_first_inference() -> None:
    first = [kernel("a", "NPU", 9000), kernel("b", CPU, 1)]
    later = [kernel("a", "NPU", 30), kernel("b", CPU, 10)]
    assert time_share([*first, *later, *later]) == {"NPU": 0.75, CPU: 0.25}


def test_one_inference_is_better_than_none() -> None:
    assert time_share([kernel("a", "NPU", 30), kernel("b", CPU, 10)])["NPU"] == 0.75


def test_an_asynchronous_provider_has_what_the_others_leave_of_the_inference() -> None:
    # The launch of a kernel takes 2 us, whatever the kernel then does.
    events = [run(900), kernel("a", CUDA, 2), kernel("b", CPU, 20)] * 3
    assert time_share(events, CUDA) == {
        CUDA: pytest.approx(0.977, abs=1e-3),
        CPU: pytest.approx(0.022, abs=1e-3),
    }


def test_a_profile_without_kernels_tells_nothing() -> None:
    assert time_share([run(900)]) == {}
    assert computed_precision([run(900)]) == ""


def test_what_only_moves_numbers_does_not_count_as_a_precision() -> None:
    events = [kernel("a", CPU, 1, kind="float16"), kernel("b", CPU, 1, op="Cast")]
    assert computed_precision(events) == "fp16"


def test_the_log_says_why_nodes_are_on_the_cpu() -> None:
    lines = [
        "2026 [I:onnxruntime:, cuda_execution_provider.cc:3 GetCapability] CUDA kernel not found "
        "in registries for Op type: GridSample node name: /warp/GridSample",
        "2026 [I:onnxruntime:Default, fallback_cpu_capability.cc:198 GetCpuPreferredNodes] ORT "
        "optimization- Force fallback to CPU execution for node: node_Concat_43 because the CPU "
        "execution path is deemed faster than overhead involved with execution on other EPs",
        "2026 [I:onnxruntime:, session.cc:1 x] something else",
    ]
    why = reasons(lines)
    assert why == {"/warp/GridSample": "no kernel", "node_Concat_43": "kept on the CPU by design"}
    node = ("node_Concat_43", "Concat", CPU)
    assert describe(node, why) == "node_Concat_43 (Concat, on cpu: kept on the CPU by design)"
    assert describe(("odd", "odd", "X"), why) == "odd (on X)"


@pytest.mark.parametrize(
    ("printed", "cause"),
    [
        (
            "\x1b[1;31m2026 [E:onnxruntime:Default, provider_bridge_ort.cc:2310 Create] "
            "/onnxruntime/onnxruntime/core/providers/openvino/openvino_provider_factory.cc:141 "
            "std::string onnxruntime::openvino_ep::ParseDeviceType(std::shared_ptr<OVCore>, const "
            "onnxruntime::ProviderOptions&) [ERROR] [OpenVINO] Device GPU is not available",
            "Device GPU is not available",
        ),
        (
            "\x1b[1;31m2026 [E:onnxruntime:, qnn_execution_provider.cc:1240 QnnEp] FP16 precision "
            "mode is enabled but soc_model is not specified.\x1b[m",
            "FP16 precision mode is enabled but soc_model is not specified.",
        ),
        ("nothing to see here", ""),
    ],
)
def test_the_cause_is_found_among_what_is_printed(printed: str, cause: str) -> None:
    assert cause_in(["noise", *printed.splitlines()]) == cause


def test_what_native_code_prints_is_captured_and_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_stderr() as lines:
        os.write(2, b"the true cause\n2026 [I:onnxruntime:, x] chatter\n")
    assert lines == ["the true cause", "2026 [I:onnxruntime:, x] chatter"]
    assert capfd.readouterr().err == "the true cause\n"


def test_standard_error_is_whole_again_after_an_exception(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError, match="x"), captured_stderr():
        raise ValueError("x")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.parametrize(
    ("shapes", "precision"),
    [
        ([[1, 64], [32, 2, 16], [32, 2]], "int4"),
        ([[1, 64], [32, 2, 32], [32, 2]], "int8"),
        ([[1, 40], [32, 2, 16], [32, 2]], "int4"),  # the last block is not full
        ([[1, 64], [32, 2]], "int4"),  # packed away: the operator's default
    ],
)
def test_the_bits_of_a_weight_follow_from_the_shapes(
    shapes: list[list[int]], precision: str
) -> None:
    event = kernel("a", CPU, 1, op="MatMulNBits")
    kinds = ["float", "uint8", "float"]
    told = [{kind: shape} for kind, shape in zip(kinds, shapes, strict=False)]
    event["args"]["input_type_shape"] = told
    assert computed_precision([event]) == precision
