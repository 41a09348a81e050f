"""Trains a student of a language model on what the original says about each next token.

Hinton, Vinyals & Dean 2015 (arXiv 1503.02531): the loss is the KL divergence of whole
distributions. The student is of the original's class with fewer layers (`students`), trained in
plain PyTorch on text that the user gives (`texts`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.cards.card import Card
from bench.cards.distilling.checkpoint import Origin, Trained, write_student
from bench.cards.distilling.sampled import sampled
from bench.cards.distilling.state import TrainingState
from bench.cards.distilling.students import student_of
from bench.cards.distilling.texts import Rows, Texts, read_texts, tokenised
from bench.cards.language import causal
from bench.cards.language.cards import reading
from bench.cards.language.tokens import TOKENIZER, Encoded
from bench.cards.modules import import_torch
from bench.errors import OutOfMemory, SpecError, Unavailable, says_out_of_memory
from bench.files import file_stem, make_folder, write_text

Say = Callable[[str], None]

#: Share of the documents that the figures before and after are of; the student never sees them.
HELD_OUT = 0.05
#: Part of the training in which the rate rises, before it falls as a cosine does.
_WARM_UP = 0.05
#: As in most trainings of language models since GPT-3 (arXiv 2005.14165, appendix B).
_BETAS = (0.9, 0.95)
_WEIGHT_DECAY = 0.1
_CLIPPED_NORM = 1.0
#: Logits that are there at once, for the original and the student each: a step over more rows is
#: computed in parts. 0.5 GB in float32.
_LOGITS_AT_ONCE = 2**27
#: Steps that a line of the log is about, and seconds between two lines on the terminal.
_LOGGED_STEPS = 10
_SAID_S = 15.0


@dataclass(frozen=True)
class LanguageRecipe:
    """How a student is trained; with the text it decides the weights (on one device, and unless
    time ends the training).

    The training ends after ``steps`` or ``max_time_s``, whichever comes first; a step takes
    ``batch`` rows of ``length`` tokens. ``control_of`` names a student: its control begins as that
    does, and is trained on the text alone.
    """

    name: str
    layers: int | None = None  #: half of the original's where none are given
    steps: int | None = 1000
    max_time_s: float | None = None
    batch: int = 8
    length: int = 256
    temperature: float = 1.0
    rate: float = 5e-4
    seed: int = 1
    bf16: bool = False
    sample: int = 0  #: texts that the original writes, learnt from besides those given
    control_of: str | None = None

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return file_stem(self.name)

    def command(self, original: str, paths: Sequence[Path]) -> list[str]:
        """What trains the student again: the shell's words, without where."""
        words = ["bench", "model", "distill", original]
        for path in paths:
            words += ["--text", path.name]
        for flag, value in (
            ("--name", self.name),
            ("--layers", self.layers),
            ("--steps", self.steps),
            ("--max-time", None if self.max_time_s is None else f"{self.max_time_s:g}s"),
            ("--batch", self.batch),
            ("--length", self.length),
            ("--temperature", f"{self.temperature:g}"),
            ("--rate", f"{self.rate:g}"),
            ("--seed", self.seed),
            ("--sample", self.sample or None),
            ("--control-of", self.control_of),
        ):
            words += [] if value is None else [flag, str(value)]
        return [*words, "--bf16"] if self.bf16 else words

    def progress(self, steps: int, spent_s: float) -> float:
        """How much of the training is done, 1 at its end."""
        of_steps = steps / self.steps if self.steps is not None else 0.0
        of_time = spent_s / self.max_time_s if self.max_time_s is not None else 0.0
        return max(of_steps, of_time)

    def rate_at(self, progress: float) -> float:
        """The learning rate: a linear rise, then a cosine down to 0."""
        if progress < _WARM_UP:
            # Never 0: the first step counts too.
            return self.rate * max(progress, _WARM_UP / 100) / _WARM_UP
        done = min(1.0, (progress - _WARM_UP) / (1 - _WARM_UP))
        return self.rate * 0.5 * (1 + math.cos(math.pi * done))


def distill_language(
    card: Card,
    paths: Sequence[Path],
    recipe: LanguageRecipe,
    out: Path,
    say: Say,
    *,
    device: str = "cpu",
    keep_every_s: float = 300.0,
) -> Path:
    """Train, and write ``NAME.toml`` with the student's checkpoint folder to ``out``; gives the
    card's path.

    A training that was cut short goes on from what was kept last. Raises `SpecError`, `Unavailable`
    and `OutOfMemory` in words for the user.
    """
    torch = import_torch()
    where = _device(torch, device)
    texts = read_texts(paths, HELD_OUT, recipe.seed)
    make_folder(out)
    # Whatever the caller computes in, training needs gradients.
    with torch.inference_mode(False), torch.enable_grad(), _memory(device):
        original = _original(card, where)
        recipe = replace(recipe, layers=recipe.layers or -(-_layers(original) // 2))
        assert recipe.layers is not None
        student = student_of(original, recipe.layers, card.name).to(where)
        tokens = _read(card, original, texts)
        drawn = out / f"{recipe.stem}.sampled.json"
        if recipe.sample:
            tokens["training"] += sampled(
                original,
                tokens["training"],
                drawn,
                count=recipe.sample,
                length=recipe.length,
                seed=recipe.seed,
                say=say,
            )
        training = _Training(original, student, tokens, recipe)
        state = training.state(card, texts, out)
        trained = training.run(state, card.name, say, keep_every_s)
        write_text(out / f"{recipe.stem}.log.csv", training.log())
        path = write_student(
            student, recipe.name, recipe.stem, _origin(card, paths, texts, recipe), trained, out
        )
    state.forget()
    drawn.unlink(missing_ok=True)
    return path


# -- what is there ---------------------------------------------------------------------------------


def _device(torch: Any, name: str) -> Any:
    """``cpu``, ``cuda`` or ``cuda:N`` as PyTorch's. Raises `SpecError` and `Unavailable`."""
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise SpecError(f"--device {name}: give cpu, cuda, or cuda:N.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise Unavailable(
            f"--device {name}: PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs.",
            "Train on the CPU (--device cpu), or install a build of PyTorch for the GPU.",
        )
    return torch.device(name)


@contextmanager
def _memory(device: str) -> Iterator[None]:
    """Where memory runs out, one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not says_out_of_memory(str(error)):
            raise
        raise OutOfMemory(
            f"training on {device} ran out of memory. Give a smaller --batch, --length or --layers."
        ) from error


def _original(card: Card, where: Any) -> Any:
    """The model that is learnt from, which doesn't change. Raises `SpecError`, `Unavailable`."""
    folder = _folder(card)
    with reading(folder):
        model = causal.load_for_training(str(folder))
    return model.requires_grad_(False).to(where)


def _folder(card: Card) -> Path:
    """The checkpoint of the original. Raises `SpecError` for a model that has none."""
    source = card.model_file().torch
    if source is None or source.folder is None:
        raise SpecError(
            f"{card.name}: a student starts from its original's weights, so the original must be "
            "a checkpoint folder, a GGUF file, or a card of one; an ONNX graph alone can't be "
            "trained."
        )
    return source.folder


def _layers(original: Any) -> int:
    return int(original.config.num_hidden_layers)


def _read(card: Card, original: Any, texts: Texts) -> dict[str, list[Encoded]]:
    """The training documents and those held out as ids."""
    vocabulary = int(original.config.vocab_size)
    tokenizer = _folder(card) / TOKENIZER
    return {
        name: tokenised(documents, tokenizer, vocabulary)
        for name, documents in (("training", texts.training), ("held out", texts.held_out))
    }


def _origin(card: Card, paths: Sequence[Path], texts: Texts, recipe: LanguageRecipe) -> Origin:
    """What the student's card says of where it comes from."""
    files = ", ".join(path.name for path in paths)
    documents = f"{len(texts.training)} documents of {files} (sha256 {texts.sha256[:12]})"
    if recipe.sample:
        documents += f" and {recipe.sample} texts that {card.name} continued from their beginnings"
    if recipe.control_of:
        return Origin(
            card,
            _folder(card),
            documents,
            recipe.command(card.name, paths),
            {"control_of": recipe.control_of},
        )
    return Origin(
        card,
        _folder(card),
        f"the distributions of {card.name} on {documents}",
        recipe.command(card.name, paths),
        {"distilled_from": card.name},
    )


# -- training --------------------------------------------------------------------------------------


@dataclass
class _Progress:
    """How far a training has come: what is kept of it besides weights."""

    steps: int = 0
    spent_s: float = 0.0
    log: list[tuple[int, float, float, float]] = field(default_factory=list)
    held_out: dict[str, float] = field(default_factory=dict)


class _Training:
    """A student, its original, and what both read."""

    def __init__(
        self,
        original: Any,
        student: Any,
        tokens: Mapping[str, Sequence[Encoded]],
        recipe: LanguageRecipe,
    ) -> None:
        self.original = original
        self.student = student
        self.recipe = recipe
        self.device = next(student.parameters()).device
        self.rows = Rows(
            tokens["training"], length=recipe.length, batch=recipe.batch, seed=recipe.seed
        )
        self.held_out = [d for d in tokens["held out"] if len(d.ids) > 1]
        self.done = _Progress()
        # No dropout: the student is to say what the original says, and a training that goes on
        # after an interruption has no random numbers to go on with.
        student.eval().requires_grad_(True)
        self.optimiser = _adamw(student, recipe.rate)

    def state(self, card: Card, texts: Texts, out: Path) -> TrainingState:
        """Where it is kept, and what it may go on with."""
        decides = {
            **asdict(self.recipe),
            "original": card.content_sha256(),
            "text": texts.sha256,
        }
        parts = {"student": self.student, "optimiser": self.optimiser}
        return TrainingState(out / f"{self.recipe.stem}.training.pt", decides, parts)

    def run(self, state: TrainingState, original: str, say: Say, keep_every_s: float) -> Trained:
        """Train to the end of the recipe, from the beginning or from what was kept."""
        recipe = self.recipe
        self.done = _Progress(**state.resume())
        if self.done.steps:
            say(f"{recipe.name}: resuming after step {self.done.steps}")
        else:
            say(f"reading {len(self.held_out)} held-out documents")
            self.done.held_out = {
                "original": self.bits_per_byte(self.original),
                "untrained": self.bits_per_byte(self.student),
            }
            first, untrained = self.done.held_out.values()
            say(
                f"held-out bits per byte: {first:.3f} of {original}, {untrained:.3f} of "
                f"{recipe.name} untrained"
            )
        self._steps(state, say, keep_every_s)
        after = self.bits_per_byte(self.student)
        say(f"held-out bits per byte: {after:.3f} of {recipe.name} trained")
        return Trained(
            steps=self.done.steps,
            tokens=self.done.steps * recipe.batch * recipe.length,
            seconds=self.done.spent_s,
            device=str(self.device),
            held_out={**self.done.held_out, "trained": after},
        )

    def log(self) -> str:
        """CSV: a line for each few steps."""
        rows: list[Sequence[object]] = [("step", "seconds", "loss", "rate"), *self.done.log]
        return "".join(",".join(map(str, row)) + "\n" for row in rows)

    def _steps(self, state: TrainingState, say: Say, keep_every_s: float) -> None:
        recipe, done = self.recipe, self.done
        begun = time.monotonic() - done.spent_s
        said = kept = time.monotonic()
        losses = []
        while (progress := recipe.progress(done.steps, done.spent_s)) < 1:
            rate = recipe.rate_at(progress)
            losses.append(self.step(self.rows.of_step(done.steps), rate))
            done.steps += 1
            done.spent_s = time.monotonic() - begun
            last = recipe.progress(done.steps, done.spent_s) >= 1
            if done.steps % _LOGGED_STEPS and not last:
                continue
            done.log.append(
                (done.steps, round(done.spent_s, 2), self._mean(losses), round(rate, 9))
            )
            losses = []
            if last or time.monotonic() - said >= _SAID_S:
                said = time.monotonic()
                say(_words(recipe, done))
            if not last and time.monotonic() - kept >= keep_every_s:
                state.keep(asdict(done))
                kept = time.monotonic()

    def _mean(self, losses: Sequence[Any]) -> float:
        """Raises `SpecError` where the training has come apart."""
        mean = float(sum(losses)) / len(losses)
        if not math.isfinite(mean):
            raise SpecError(
                f"{self.recipe.name}: the loss is not a number any more. Give a --rate below "
                f"{self.recipe.rate:g}."
            )
        return round(mean, 6)

    def step(self, rows: Any, rate: float) -> Any:
        """One step of the optimiser; returns the loss, in nats a token, on the device."""
        import torch  # torch: optional

        ids = torch.from_numpy(rows).to(self.device)
        total: Any = 0.0
        for part in ids.split(self._rows_at_once()):
            loss = self.loss(part) * (len(part) / len(ids))
            loss.backward()
            total = total + loss.detach()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), _CLIPPED_NORM)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad()
        return total

    def _rows_at_once(self) -> int:
        row = self.recipe.length * int(self.student.config.vocab_size)
        return max(1, _LOGITS_AT_ONCE // row)

    def loss(self, ids: Any) -> Any:
        """KL(original || student) at each position, times T^2; of a control the cross-entropy
        with the token that comes next."""
        import torch  # torch: optional
        from torch.nn import functional  # torch: optional

        mine = self._logits(self.student, ids)
        if self.recipe.control_of:
            return functional.cross_entropy(mine[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        with torch.no_grad():
            theirs = self._logits(self.original, ids)
        return divergence(mine.flatten(0, 1), theirs.flatten(0, 1), self.recipe.temperature)

    def _logits(self, model: Any, ids: Any) -> Any:
        """Float32 [batch, length, vocabulary]."""
        import torch  # torch: optional

        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            found = model(input_ids=ids, use_cache=False).logits
        return found.float()

    def bits_per_byte(self, model: Any) -> float:
        """Of the held-out documents, each read in rows as long as those of the training."""
        import torch  # torch: optional
        from torch.nn import functional  # torch: optional

        nats, length = 0.0, self.recipe.length
        with torch.no_grad():
            for document in self.held_out:
                ids = torch.from_numpy(document.ids).to(self.device)
                for start in range(0, len(ids) - 1, length):
                    part = ids[start : start + length + 1]
                    logits = self._logits(model, part[None, :-1])[0]
                    nats += float(functional.cross_entropy(logits, part[1:], reduction="sum"))
        return nats / math.log(2) / sum(int(document.bytes[1:].sum()) for document in self.held_out)


def divergence(mine: Any, theirs: Any, temperature: float) -> Any:
    """The mean over rows of KL(theirs || mine) in nats, of logits at a temperature, times its
    square (section 2 of Hinton et al.)."""
    from torch.nn import functional  # torch: optional

    mine, theirs = (functional.log_softmax(logits / temperature, -1) for logits in (mine, theirs))
    found = functional.kl_div(mine, theirs, reduction="batchmean", log_target=True)
    return found * temperature**2


def _adamw(student: Any, rate: float) -> Any:
    """AdamW, whose decay leaves norms and biases alone."""
    import torch  # torch: optional

    weights = list(student.parameters())
    groups = [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": _WEIGHT_DECAY},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=_BETAS)


def _words(recipe: LanguageRecipe, done: _Progress) -> str:
    """``student: step 120 of 1000, loss 0.812, 3400 tokens/s, about 12 min left``."""
    assert done.log
    steps, spent_s, loss, _ = done.log[-1]
    of = f" of {recipe.steps}" if recipe.steps is not None else ""
    speed = steps * recipe.batch * recipe.length / max(spent_s, 1e-9)
    progress = recipe.progress(steps, spent_s)
    left_s = spent_s / progress - spent_s
    left = f", about {_duration(left_s)} left" if progress < 1 else ""
    return f"{recipe.name}: step {steps}{of}, loss {loss:.4f}, {speed:,.0f} tokens/s{left}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
