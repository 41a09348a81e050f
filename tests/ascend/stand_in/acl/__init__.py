"""A stand-in for Huawei's module ``acl`` (pyACL): the same calls and return values, no NPU.

It keeps pyACL's rules, computes with ONNX Runtime, and writes down every misuse in
`machine.misuses` (in a worker: into the file that ``ACL_STAND_IN_LOG`` names). Its chip is called
``StandIn910B4``, so that no record of it can be taken for one of hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from .machine import Fault, Machine

machine = Machine()


def reset() -> Machine:
    """A new machine, as in a new process."""
    global machine
    machine = Machine()
    return machine


def _returns_ret(_: Any, code: int) -> Any:
    return code


def _returns_value(value: Any, code: int) -> Any:
    return (value if code == 0 else 0), code


def _returns_pair(pair: Any, code: int) -> Any:
    return (*(pair if code == 0 else (0, 0)), code)


def _returns_bare(value: Any, code: int) -> Any:
    return value


#: Which of the four shapes of return values each call has (pyACL API reference).
SHAPES: dict[Callable[[Any, int], Any], str] = {
    _returns_ret: """
        init finalize destroy_data_buffer update_data_buffer
        rt.set_device rt.reset_device rt.set_context rt.destroy_context rt.destroy_stream
        rt.synchronize_stream rt.destroy_event rt.record_event rt.free rt.free_host rt.memcpy
        rt.memcpy_async mdl.unload mdl.destroy_desc mdl.get_desc mdl.destroy_dataset
        mdl.set_dynamic_batch_size mdl.set_input_dynamic_dims mdl.execute mdl.execute_async
    """,
    _returns_value: """
        get_tensor_desc_dim_v2
        rt.get_device_count rt.create_context rt.create_stream rt.create_event
        rt.event_elapsed_time rt.malloc rt.malloc_host mdl.load_from_file mdl.add_dataset_buffer
        mdl.get_input_dims mdl.get_output_dims mdl.get_cur_output_dims mdl.get_dynamic_batch
        mdl.get_input_index_by_name mdl.get_input_dynamic_gear_count
    """,
    _returns_pair: "rt.get_mem_info",
    _returns_bare: """
        get_soc_name get_recent_err_msg create_data_buffer get_data_buffer_addr
        get_tensor_desc_num_dims util.bytes_to_ptr util.ptr_to_bytes
        mdl.create_desc mdl.create_dataset mdl.get_num_inputs mdl.get_num_outputs
        mdl.get_input_name_by_index mdl.get_output_name_by_index mdl.get_input_data_type
        mdl.get_output_data_type mdl.get_input_size_by_index mdl.get_output_size_by_index
        mdl.get_dataset_tensor_desc
    """,
}

#: What a bare call returns when it fails, where that is not 0.
_BARE_FAILURES: dict[str, Any] = {
    "get_soc_name": None,
    "get_recent_err_msg": None,
    "ptr_to_bytes": None,
    "get_input_name_by_index": None,
    "get_output_name_by_index": None,
    "get_input_data_type": -1,  # ACL_DT_UNDEFINED
    "get_output_data_type": -1,
}

rt, mdl, util = SimpleNamespace(), SimpleNamespace(), SimpleNamespace()


def _api(name: str, shape: Callable[[Any, int], Any]) -> Callable[..., Any]:
    method = name.rpartition(".")[2]

    def call(*arguments: Any) -> Any:
        fault = machine.injected(name, arguments)
        if fault is None:
            try:
                return shape(getattr(machine, method)(*arguments), 0)
            except Fault as raised:
                fault = raised
        machine.say(str(fault))
        return shape(_BARE_FAILURES.get(method, 0), fault.code)

    call.__name__ = method
    return call


for _shape, _names in SHAPES.items():
    for _name in _names.split():
        _space, _, _method = _name.rpartition(".")
        _function = _api(_name, _shape)
        if _space:
            setattr({"rt": rt, "mdl": mdl, "util": util}[_space], _method, _function)
        else:
            globals()[_method] = _function
reset()
