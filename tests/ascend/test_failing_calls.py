"""Each call of pyACL is made to fail, each time that the adapter makes it: what then?"""

from __future__ import annotations

from typing import Any

import pytest

from bench.errors import BenchError

from .scenario import Scenario

CODE = 507899
WORDS = "EE9999: [PID: 7] 2026-11-24-10:00:00.000.001 Inner Error!\n        Solution: call us"


def names(text: str) -> list[str]:
    return text.split()


#: Calls that answer with a code.
CODED = names("""
    init finalize destroy_data_buffer update_data_buffer get_tensor_desc_dim_v2
    rt.get_device_count rt.set_device rt.reset_device rt.create_context rt.set_context
    rt.destroy_context rt.create_stream rt.destroy_stream rt.synchronize_stream rt.create_event
    rt.destroy_event rt.record_event rt.event_elapsed_time rt.malloc rt.free rt.malloc_host
    rt.free_host rt.memcpy rt.memcpy_async mdl.load_from_file mdl.unload mdl.destroy_desc
    mdl.get_desc mdl.destroy_dataset mdl.add_dataset_buffer mdl.set_dynamic_batch_size mdl.execute
    mdl.execute_async mdl.get_input_dims mdl.get_output_dims mdl.get_cur_output_dims
    mdl.get_dynamic_batch mdl.get_input_index_by_name
""")
#: Calls that make a handle, of which 0 is a failure.
HANDLES = names("""
    create_data_buffer util.bytes_to_ptr mdl.create_desc mdl.create_dataset
    mdl.get_dataset_tensor_desc
""")
#: Calls whose bare answer can't be right.
BARE = names("""
    get_soc_name util.ptr_to_bytes mdl.get_num_inputs mdl.get_num_outputs
    mdl.get_input_name_by_index mdl.get_output_name_by_index mdl.get_input_data_type
    mdl.get_output_data_type mdl.get_input_size_by_index
""")
#: Not made to fail: their failure looks like a proper answer (0 is an output without a bound, a
#: scalar, nothing allocated yet), or means nothing (the message; memory that isn't told).
LEFT_OUT = names("""
    get_recent_err_msg rt.get_mem_info mdl.get_output_size_by_index get_data_buffer_addr
    get_tensor_desc_num_dims
""")


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return Scenario(tmp_path_factory.mktemp("models"))


def calls_of(acl: Any, scenario: Scenario) -> dict[str, int]:
    """How often a run in which nothing fails makes each call."""
    scenario.run()
    assert acl.machine.misuses == []
    return dict(acl.machine.calls)


def errors_of(acl: Any, scenario: Scenario, name: str, count: int) -> list[BenchError]:
    """What runs raise in which the first, the second, ... call of ``name`` fails; none leaks."""
    found = []
    for at in range(1, count + 1):
        machine = acl.reset()
        machine.fail(name, at, CODE, WORDS)
        with pytest.raises(BenchError) as caught:
            scenario.run()
        assert machine.misuses == [], f"call {at} of {name}"
        if name != "finalize":
            assert machine.leaks() == [], f"call {at} of {name}"
        assert "\n" not in str(caught.value)
        found.append(caught.value)
    return found


def test_every_call_that_the_adapter_makes_is_listed_here(acl: Any, scenario: Scenario) -> None:
    assert set(calls_of(acl, scenario)) | {"get_recent_err_msg"} == {
        *CODED,
        *HANDLES,
        *BARE,
        *LEFT_OUT,
    }


@pytest.mark.parametrize("name", CODED)
def test_a_call_that_answers_with_a_code_is_a_typed_error_and_leaks_nothing(
    acl: Any, scenario: Scenario, name: str
) -> None:
    for error in errors_of(acl, scenario, name, calls_of(acl, scenario)[name]):
        assert f"acl.{name} failed with {CODE}" in str(error)
        assert "EE9999: Inner Error!" in str(error)
        assert "Solution" not in str(error)


@pytest.mark.parametrize("name", HANDLES)
def test_a_call_that_makes_nothing_is_a_typed_error_and_leaks_nothing(
    acl: Any, scenario: Scenario, name: str
) -> None:
    for error in errors_of(acl, scenario, name, calls_of(acl, scenario)[name]):
        assert f"acl.{name} returned nothing: EE9999: Inner Error!" in str(error)


@pytest.mark.parametrize("name", BARE)
def test_an_answer_that_cannot_be_right_is_a_typed_error_and_leaks_nothing(
    acl: Any, scenario: Scenario, name: str
) -> None:
    assert errors_of(acl, scenario, name, calls_of(acl, scenario)[name])
