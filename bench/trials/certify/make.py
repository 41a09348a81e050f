"""From what is asked to a certificate in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import __version__
from bench.cards.tasks import find_task
from bench.defaults import CONFIDENCE
from bench.errors import SpecError
from bench.folders import cache_folder
from bench.judge.certify.decisions import default_margin
from bench.judge.certify.finding import Seen, findings
from bench.machine.facts import machine_facts
from bench.measure.listener import Listener
from bench.measure.prepare import Prepared, prepare
from bench.record.certificate import Answers, Asked, Certificate, Finding, Place
from bench.runtimes.declarations import versioned_distributions
from bench.runtimes.targets import choose_targets
from bench.spec import Suite, with_flags
from bench.store.certificates import Evidence, write_certificate
from bench.trials.certify.examiner import Examiner
from bench.trials.certify.passes import Cast, Passes, cast, examine, limit_of
from bench.trials.certify.running import PROMPTS, go_on_alone
from bench.trials.certify.samples import Samples
from bench.trials.certify.texts import Texts
from bench.trials.certify.where import of_language, places, whole_model
from bench.variants import DEFAULT

#: Where a task names no difference that doesn't matter, and where there is no metric at all.
MARGIN = 0.005
#: Tokens of the prompt that a language model is planned with, the first that its context holds; it
#: is examined on texts.
_PROMPTS = (128, 16)


@dataclass(frozen=True)
class Request:
    """What is to be certified. ``margin`` is None where the task's own counts."""

    model: str
    reference: str
    on: tuple[str, ...]
    against: str = ""
    variants: tuple[str, ...] = ()
    margin: float | None = None
    confidence: float = CONFIDENCE
    examples: int | None = None
    prompts: int = PROMPTS  #: texts that a language model goes on with by itself
    threads: int | None = None
    seed: int = 1
    looks_where: bool = True  #: go on to where it differs


def make(request: Request, listener: Listener, folder: Path, command: str) -> Certificate:
    """Run everything, and write the certificate with its evidence into ``folder``.

    Raises `SpecError` for what is asked for wrongly, and `BenchError` where the reference itself
    can't be run; nothing is left in the folder then.
    """
    evidence = Evidence(folder)
    try:
        certificate = _made(request, listener, evidence, command)
        write_certificate(folder, certificate)
    except BaseException:
        evidence.discard()
        raise
    return certificate


def _made(request: Request, listener: Listener, evidence: Evidence, command: str) -> Certificate:
    with prepare(_suite(request), listener, cache_folder()) as prepared:
        found = _cast(request, prepared)
        examiner = _examiner(request, found, prepared)
        passes = examine(found, examiner, evidence, listener)
        seen = Seen(
            _asked(request, found, passes, evidence),
            examiner.examined,
            tuple(passes.parties),
            tuple(passes.passes),
            _answers(request, found, examiner, prepared, evidence, listener),
        )
        floor, judged = findings(seen, evidence.read)
        where = (
            _where(found, judged, seen, evidence, examiner, prepared, listener)
            if request.looks_where
            else ()
        )
    return Certificate(
        bench_version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        facts=machine_facts(versioned_distributions()).as_json(),
        asked=seen.asked,
        examined=seen.examined,
        limit=limit_of(found.reference).source,
        parties=seen.parties,
        passes=seen.passes,
        answers=seen.answers,
        files=evidence.files,
        floor=floor,
        findings=judged,
        places=where,
    )


def _asked(request: Request, found: Cast, passes: Passes, evidence: Evidence) -> Asked:
    card = found.reference.model.card
    scored = next((p.predictions for p in passes.passes if p.party == 0 and p.predictions), "")
    margin = request.margin
    if margin is None and scored:
        task = find_task(card.task)
        margin = default_margin(task, evidence.read(scored), request.confidence)
    return Asked(
        model=request.model,
        against=request.against,
        reference=str(found.reference.choice.target),
        on=tuple(dict.fromkeys(str(p.choice.target) for p in found.candidates)),
        variants=tuple(dict.fromkeys(p.cell.variant for p in found.candidates)),
        margin=margin or MARGIN,
        confidence=request.confidence,
        seed=request.seed,
    )


def _suite(request: Request) -> Suite:
    flags: dict[str, object] = {
        "models": tuple(dict.fromkeys(filter(None, (request.model, request.against)))),
        "targets": tuple(dict.fromkeys((request.reference, *request.on))),
        "variants": tuple(dict.fromkeys((DEFAULT, *request.variants))),
        # By default samples are planned of most models, and prompts of language models.
        "prompt": _PROMPTS,
        "confidence": request.confidence,
        "seed": request.seed,
    }
    if request.threads is not None:
        flags["threads"] = request.threads
    return with_flags(Suite(), flags)


def _cast(request: Request, prepared: Prepared) -> Cast:
    names = list(dict.fromkeys(p.cell.model.name for p in prepared.plan.cells))
    reference = _targets((request.reference,), prepared)
    if len(reference) != 1:
        raise SpecError(
            f"{request.reference}: the reference must be one target, but this names "
            f"{len(reference)}. Name it in full, for example onnxruntime:cpu."
        )
    against = names[-1] if request.against else names[0]
    wanted = request.variants or (DEFAULT,)
    found = cast(prepared, names[0], against, reference[0], _targets(request.on, prepared), wanted)
    if not found.candidates:
        raise SpecError(
            f"nothing to certify: {request.model} on {', '.join(request.on)} is the "
            "reference itself. Name another target, a variant, or a model with --against."
        )
    return found


def _answers(
    request: Request,
    found: Cast,
    examiner: Examiner,
    prepared: Prepared,
    evidence: Evidence,
    listener: Listener,
) -> tuple[Answers, ...]:
    """What language models go on with by themselves; nothing of other models."""
    if not isinstance(examiner, Texts):
        return ()
    return go_on_alone(found, examiner, prepared.launcher, evidence, listener, request.prompts)


def _where(
    found: Cast,
    judged: Sequence[Finding],
    seen: Seen,
    evidence: Evidence,
    examiner: Examiner,
    prepared: Prepared,
    listener: Listener,
) -> tuple[Place, ...]:
    """Where each party differs that does."""
    rows = {
        each.party: evidence.read(each.rows)
        for each in seen.passes
        if each.party and each.condition == "plain" and each.rows
    }
    stages = of_language(examiner) if isinstance(examiner, Texts) else whole_model
    return places(found, judged, rows, stages, prepared, listener)


def _targets(texts: Sequence[str], prepared: Prepared) -> list[str]:
    return [str(choice.target) for choice in choose_targets(texts, prepared.reports)]


def _examiner(request: Request, found: Cast, prepared: Prepared) -> Examiner:
    tolerance, most = limit_of(found.reference), request.examples
    if found.reference.model.decoder is None:
        return Samples(found.reference, prepared.launcher, tolerance, most)
    return Texts(found.all, prepared.launcher, tolerance, most, request.seed)
