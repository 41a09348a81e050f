"""The description of a system (``systems/NAME.json``) and of an implementation
(``measurements.json``): what a run knows of both, in the fields that the checker asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.backend import is_cpu
from bench.numbers import size
from bench.record.result import Record
from bench.store.run import StoredRun

#: What bench does not know; a file of the user's fills it in (--system-json).
UNKNOWN = "unknown"
#: Fields that are asked for, with what they are where bench does not know: some may be empty
#: (submission_checker/constants.py, SYSTEM_DESC_REQUIRED_FIELDS and those that need a meaningful
#: response, v6.1).
_FURTHER = {
    **dict.fromkeys(
        (
            "host_storage_capacity",
            "host_storage_type",
            "host_memory_configuration",
            "host_networking",
            "host_network_card_count",
            "host_networking_topology",
            "cooling",
        ),
        UNKNOWN,
    ),
    **dict.fromkeys(
        (
            "host_processor_caches",
            "host_processor_interconnect",
            "accelerator_frequency",
            "accelerator_interconnect_topology",
            "accelerator_on-chip_memories",
            "hw_notes",
            "sw_notes",
            "system_type_detail",
        ),
        "",
    ),
}
_PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}


def describe_system(
    run: StoredRun, record: Record, told: Mapping[str, str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The system that a record was measured on; ``told`` are the fields that the user has to say,
    ``given`` those that they say over all."""
    facts = run.header.facts
    cores = facts.get("physical_cores")
    memory = facts.get("memory_total_bytes")
    clock = facts.get("max_frequency_hz") or facts.get("frequency_hz")
    return {
        **_FURTHER,
        "number_of_nodes": 1,
        "host_processor_model_name": facts.get("cpu_model") or UNKNOWN,
        "host_processors_per_node": 1,
        "host_processor_core_count": cores or facts.get("logical_cores") or UNKNOWN,
        "host_processor_frequency": f"{clock / 1e6:.0f} MHz" if clock else "",
        "host_memory_capacity": size(memory) if memory else UNKNOWN,
        "framework": f"{record.cell.target} {record.runtime_version}".strip(),
        "operating_system": f"{facts.get('os', UNKNOWN)} {facts.get('kernel', '')}".strip(),
        "other_software_stack": f"bench {run.header.bench_version}, {facts.get('python', UNKNOWN)}",
        **_accelerator(record, facts),
        **told,
        **given,
    }


def _accelerator(record: Record, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What computes beside the host."""
    names = (
        "accelerator_memory_capacity",
        "accelerator_host_interconnect",
        "accelerator_memory_configuration",
        "accelerator_interconnect",
    )
    if not record.cell.device_kind or is_cpu(record.cell.device_kind):
        none = dict.fromkeys(names, "N/A")
        return {"accelerators_per_node": "0", "accelerator_model_name": "N/A", **none}
    found = dict.fromkeys(names, UNKNOWN)
    # The machine may have other GPUs besides, and two sizes of one model.
    gpus = [gpu for gpu in facts.get("gpus") or () if isinstance(gpu, dict)]
    sizes = {g.get("memory_bytes") for g in gpus if g.get("name") == record.device_name}
    if len(sizes) == 1 and all(sizes):
        found["accelerator_memory_capacity"] = size(sizes.pop())
    name = record.device_name or UNKNOWN
    return {"accelerators_per_node": 1, "accelerator_model_name": name, **found}


def describe_implementation(record: Record) -> dict[str, str]:
    """What was run: ``measurements.json``."""
    model = record.cell.model
    precision = _PRECISIONS.get(record.cell.variant, record.cell.variant)
    distilled = model.distilled_from
    return {
        "input_data_types": "fp32",
        "retraining": f"Yes: distilled from {distilled}" if distilled else "No",
        "starting_weights_filename": f"{model.name}, SHA-256 {model.sha256}",
        "weight_data_types": precision,
        "weight_transformations": record.variant_method or "none",
    }
