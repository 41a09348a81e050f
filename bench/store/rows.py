"""Records as flat rows of data."""

from __future__ import annotations

from collections.abc import Sequence

from bench.record.energy import of_the_cell
from bench.record.result import (
    Energy,
    Foreign,
    Queries,
    QueryTime,
    Record,
    value_of,
)
from bench.store.fields import RESULT_FIELDS


def result_rows(records: Sequence[Record]) -> list[dict[str, object]]:
    """One flat, JSON-ready row a record, with the keys of `bench.store.fields.RESULT_FIELDS`."""
    return [_raw_row(record) for record in records]


def _raw_row(record: Record) -> dict[str, object]:
    cell, model = record.cell, record.cell.model
    row: dict[str, object] = dict.fromkeys(RESULT_FIELDS)
    row |= {
        "cell_id": record.cell_id,
        "model": model.name,
        "model_sha256": model.sha256,
        "task": model.task,
        "distilled_from": model.distilled_from,
        "control_of": model.control_of,
        "file_bytes": model.file_bytes,
        "parameters": model.parameters,
        "variant": cell.variant,
        "target": cell.target,
        "device_name": record.device_name,
        "runtime_version": record.runtime_version,
        "simulated": record.simulated,
        "scenario": cell.scenario,
        "batch": cell.batch,
        "threads": cell.threads,
        "lane": cell.lane,
        "driver": cell.driver,
        "allow_fallback": cell.allow_fallback,
        "status": record.standing,
        "stop": record.stop,
        "invocations": len(record.invocations),
        "load_ns": value_of(record.load_ns),
        "first_inference_ns": value_of(record.first_inference_ns),
        "h2d_ns": value_of(record.h2d_ns),
        "d2h_ns": value_of(record.d2h_ns),
        "device_ns": value_of(record.device_ns),
        "checks_failed": [check.name for check in record.checks if not check.ok],
        "finished_at": record.finished_at,
        "canary_ns": value_of(record.canary_ns),
    }
    row |= _raw_measures(record)
    return row if record.foreign is None else row | _raw_foreign(record.foreign, cell.threads)


def _raw_foreign(found: Foreign, threads: int) -> dict[str, object]:
    """What another tool told; there are no bounds in it."""
    return {
        "foreign": found.tool,
        "variant": None,
        "lane": None,
        "driver": None,
        "threads": threads or None,
        "median_ns": found.median_ns,
        "p90_ns": found.p90_ns,
        "p99_ns": found.p99_ns,
        "samples": found.samples,
        "throughput_per_s": found.throughput_per_s,
    }


def _of_queries(queries: Queries) -> dict[str, object]:
    """The keys of a language model's whole queries."""
    row: dict[str, object] = {
        "prompt_tokens": queries.prompt_tokens,
        "new_tokens": queries.new_tokens,
        "bounds": queries.bounds,
        "prompt_tokens_per_s": value_of(queries.prompt_per_s),
        "new_tokens_per_s": value_of(queries.new_per_s),
    }
    if queries.ttft_request_ns is not None:
        row |= {
            "tokenizing_ns": queries.tokenizing_ns,
            "ttft_request_ns": queries.ttft_request_ns.value,
        }
    for name, time in (("ttft", queries.ttft), ("tpot", queries.tpot), ("itl", queries.itl)):
        if time is not None:
            row[f"{name}_ns"] = time.median_ns.value
            row[f"{name}_p99_ns"] = time.p99.value_ns
        if isinstance(time, QueryTime):
            row[f"{name}_bound_ns"] = time.bound_ns
    return row


def _of_energy(energy: Energy) -> dict[str, object]:
    """The keys of the energy that stands for a cell."""
    row: dict[str, object] = {
        "energy_scope": energy.scope,
        "energy_windows": len(energy.rounds),
        "energy_missing": energy.missing or None,
        "power_w": value_of(energy.power_w),
        "idle_w": value_of(energy.idle_w),
    }
    for name, found in (("gross", energy.gross_j), ("net", energy.net_j)):
        if found is not None:
            row[f"energy_{name}_j"] = found.value
            row[f"energy_{name}_low_j"], row[f"energy_{name}_high_j"] = found.low, found.high
    if energy.gross_j is not None:
        row["energy_sample_j"] = energy.gross_j.value / energy.samples
        row["energy_token_j"] = energy.gross_j.value / energy.tokens if energy.tokens else None
    return row


def _of_loadgen(record: Record) -> dict[str, object]:
    """The keys of what LoadGen says of its tests."""
    told = [one.loadgen for one in record.invocations if one.loadgen is not None]
    if not told:
        return {}
    figures = [one.figure for one in told if one.figure is not None]
    return {
        "loadgen_version": told[0].version,
        "loadgen_valid": sum(one.valid for one in told),
        "loadgen_tests": len(told),
        "loadgen_figure": sum(figures) / len(figures) if figures else None,
    }


def _raw_measures(record: Record) -> dict[str, object]:
    """The keys of those parts of a record that may be absent."""
    row = {
        **_of_loadgen(record),
        "median_ns": record.lone_ns,
        "throughput_per_s": record.lone_rate,
    }
    if record.failure is not None:
        row |= {"failure_kind": record.failure.kind, "failure_message": record.failure.message}
    if record.latency is not None:
        median = record.latency.median_ns
        row |= {
            "confidence": median.confidence,
            "median_ns": median.value,
            "median_low_ns": median.low,
            "median_high_ns": median.high,
            "floor_ns": record.latency.floor_ns.value,
            "p90_ns": record.latency.p90.value_ns,
            "p99_ns": record.latency.p99.value_ns,
            "p99_samples_needed": record.latency.p99.samples_needed,
            "samples": record.latency.samples,
        }
    if record.throughput is not None:
        row |= {
            "throughput_per_s": record.throughput.value,
            "throughput_low_per_s": record.throughput.low,
            "throughput_high_per_s": record.throughput.high,
        }
    if record.busy is not None:
        share = record.busy.share
        row |= {"busy_share": share.value, "busy_low": share.low, "busy_high": share.high}
        row["busy_at_most"] = record.busy.at_most
    if record.roofline is not None:
        row |= {
            "operations": record.roofline.operations,
            "least_bytes": record.roofline.bytes,
            "peak_operations_per_s": record.roofline.peak_operations_per_s,
            "peak_bytes_per_s": record.roofline.peak_bytes_per_s,
            "peak_of": record.roofline.peak_of or "fp32",
        }
    if record.sweep_end is not None:
        row |= {
            "sweep_end_batch": record.sweep_end.batch,
            "sweep_end_kind": record.sweep_end.failure.kind,
        }
    if record.queries is not None:
        row |= _of_queries(record.queries)
    if record.memory is not None:
        row |= record.memory.model_dump()
    if record.footprint is not None:
        row |= record.footprint.model_dump()
    if record.energy:
        known = (energy for energy in of_the_cell(record.energy) if energy.gross_j)
        row |= _of_energy(next(known, record.energy[0]))
    if record.accuracy is not None:
        row |= {
            "accuracy_metric": record.accuracy.metric,
            "accuracy": record.accuracy.value.value,
            "accuracy_low": record.accuracy.value.low,
            "accuracy_high": record.accuracy.value.high,
            "accuracy_examples": record.accuracy.examples,
            "accuracy_notes": "; ".join(record.accuracy.notes) or None,
        }
    if record.parity is not None:
        row["max_abs_error"] = record.parity.max_abs_error
    if record.placement is not None:
        row |= {
            "on_device_share": record.placement.on_device_share,
            "on_device_time_share": record.placement.on_device_time_share,
            "off_device": list(record.placement.off_device),
        }
    return row
