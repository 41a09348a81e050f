"""The names of all columns: those that people see in tables, and those of raw rows.

Raw rows (``--json``) carry the unit in the name and the value as it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of a printed table. ``essential`` ones are shown however narrow the terminal is;
    the others are added in order while there is room."""

    key: str
    title: str
    meaning: str
    essential: bool = True


RESULT_COLUMNS = (
    Column("latency", "Latency", "median time of one query, with its interval"),
    Column("p90", "p90", "90th percentile of latency (upper bound at 99%)", essential=False),
    Column("p99", "p99", "99th percentile of latency (upper bound at 99%)"),
    Column("throughput", "Throughput", "samples per second, queries back to back"),
    Column("batch", "batch", "samples in one query of the throughput figure"),
    Column("memory", "Memory", "peak memory of the worker (resident set)"),
    Column("accuracy", "Accuracy", "score on the labelled data, with its interval"),
    Column("device", "On device", "share of the time (or of the nodes) on the requested device"),
    Column("load", "Load", "reading and compiling the model", essential=False),
    Column("first", "First run", "the first inference after loading", essential=False),
    Column("samples", "samples", "latency samples, over all invocations", essential=False),
    Column("error", "Max error", "largest absolute difference from the reference", essential=False),
)

#: `bench show`: energies, a line a cell and scope
ENERGY_COLUMNS = (
    Column("gross", "Gross", "all energy drawn per sample, with its interval over rounds"),
    Column("net", "Net", "energy per sample above idle"),
    Column("token", "Token", "gross, per token", essential=False),
    Column("net_token", "Net token", "net, per token", essential=False),
    Column("power", "Power", "mean of the windows", essential=False),
    Column("idle", "Idle", "power of the idle windows before and after", essential=False),
    Column("windows", "valid", "valid windows, of all", essential=False),
)

#: `bench compare`: energies
COMPARED_ENERGY_COLUMNS = (
    Column("change", "from → to", "energy per sample of both sides", essential=False),
    Column("ratio", "ratio", "ratio of the energies, with its interval"),
    Column("verdict", "verdict", "what the interval shows"),
)

#: `bench show`: LoadGen's figures beside ours, two lines a cell
LOADGEN_COLUMNS = (
    Column("p50", "p50", "median latency of a query"),
    Column("p90", "p90", "90th percentile of latency", essential=False),
    Column("p99", "p99", "99th percentile of latency"),
    Column("figure", "Figure", "MLPerf's metric for the scenario, and bench's equivalent"),
    Column("valid", "VALID", "tests that LoadGen reports as VALID, of all"),
)

PAIR_COLUMNS = (
    Column("speedup", "Speed-up", "median latency: the other's over this one's, with its interval"),
    Column("difference", "Accuracy", "accuracy: this one's minus the other's"),
    Column("p", "p", "could the accuracies be equal? (McNemar's exact test, or bootstrap)"),
    Column("retained", "Kept", "accuracy: this one's over the other's"),
    Column("throughput", "Throughput", "throughput: this one's over the other's", essential=False),
    Column(
        "floor",
        "Floor",
        "1st percentile of latency: the other's over this one's",
        essential=False,
    ),
)

#: `bench show --history`: a line a run
HISTORY_COLUMNS = (
    Column("value", "Figure", "the cell's figure, with its interval"),
    Column("commit", "commit", "of the folder in which the run was started"),
    Column("runtime", "runtime", "version of the runtime"),
    Column("bench", "bench", "version of bench", essential=False),
)

#: `bench compare`: how fast
COMPARED_COLUMNS = (
    Column("change", "from → to", "the figures of both sides", essential=False),
    Column("ratio", "time ratio", "time of a query or a sample over the other's, and its interval"),
    Column("floor", "best case", "ratio of the best-case times (p1)"),
    Column("verdict", "verdict", "what the interval shows"),
)

#: `bench compare`: how right
COMPARED_ACCURACY_COLUMNS = (
    Column("change", "from → to", "accuracy of both sides", essential=False),
    Column("difference", "Change", "change in accuracy, with its interval"),
    Column("p", "p", "could the accuracies be equal? (McNemar or bootstrap, Holm-corrected)"),
    Column("examples", "examples", "labelled examples that both were scored on", essential=False),
)

#: `bench gate`: each limit held against an interval
GATE_COLUMNS = (
    Column("change", "Base → run", "the figure of the baseline and of the run", essential=False),
    Column("found", "Found", "the checked figure, with its interval"),
    Column("limit", "Limit", "what is allowed"),
    Column("outcome", "", "within it, beyond it, or inconclusive"),
)

#: `bench show --deal`: accuracy against cost
DEAL_COLUMNS = (
    Column("cost", "Cost", "what it costs: latency, throughput, energy, memory or size"),
    Column("accuracy", "Accuracy", "score on the labelled data, with its interval"),
    Column("standing", "", "on the Pareto front, undecided, or beaten by another"),
)

#: `bench show --deal`: how like its original a distilled model is
FIDELITY_COLUMNS = (
    Column("student", "Distilled", "the distilled model against its original"),
    Column("control", "Control", "the same small network, trained without the original"),
    Column("effect", "Difference", "of the two, on the same examples"),
)

#: `bench certify`: a line a target
CERTIFICATE_COLUMNS = (
    Column("verdict", "Verdict", "same, equivalent, degraded, inconclusive or impossible"),
    Column("roundings", "Largest", "largest difference of an output, in float32 roundings"),
    Column("divergence", "KL", "mean divergence from the reference's", essential=False),
    Column("floors", "of floor", "largest, over the reference's own largest", essential=False),
    Column("change", "Change", "the metric minus the reference's, with its interval"),
)

#: `bench debug bisect`: tensors in the order of the graph
BISECT_COLUMNS = (
    Column("op", "Operator", "that makes the tensor"),
    Column("shape", "Shape", "of the tensor"),
    Column("error", "Error", "largest difference over the reference's largest value"),
    Column("jump", "", "where the error begins, rather than arrives with the inputs"),
)

#: `bench model speculate`: what drafts of each length are worth
SPECULATE_COLUMNS = (
    Column("accepted", "Accepted", "of the drafted tokens"),
    Column("tokens", "Tokens", "accepted per iteration (one draft and its check)"),
    Column(
        "predicted",
        "Predicted",
        "speed-up, predicted from step times and the share of drafted tokens accepted",
    ),
    Column("measured", "Measured", "speed-up after the first token"),
    Column("whole", "With prompt", "speed-up of whole queries", essential=False),
)

#: `bench tune`: those that can't be told apart from the best
TUNE_COLUMNS = (
    Column("figure", "Measured", "of one query, or samples per second"),
    Column("ratio", "Over the best", "its cost relative to the lowest, with a joint interval"),
    Column("processes", "Processes", "in which it raced", essential=False),
)

#: `bench debug lineage`: how like each other two models are, and how like the controls
LINEAGE_COLUMNS = (
    Column("value", "Likeness", "of A and B, and of A and each control"),
    Column("expected", "Expected", "of A and a new independent model, by the controls"),
    Column("excess", "Excess", "of A and B beyond what is expected"),
)

#: `bench portability`: tests by outcome, a line a target
PORTABILITY_COLUMNS = (
    Column("pass", "pass", "correct within the tolerance of ONNX's own runner"),
    Column("wrong", "wrong", "other numbers, shapes or types"),
    Column("unsupported", "unsupported", "the runtime reports it as unsupported"),
    Column("crash", "crash", "the worker died"),
    Column("timeout", "timeout", "the worker did not answer in time"),
    Column("share", "of tests", "tests that pass"),
    Column("seconds", "took", "time that the tests took in their workers", essential=False),
)

#: `bench portability`: models on targets
PORTABILITY_MODEL_COLUMNS = (
    Column("outcome", "Outcome", "the outcome"),
    Column("predicted", "Predicted", "what the tests of its operators predicted"),
)
