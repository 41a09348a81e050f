"""Train the language models: an original, a student distilled from it, and a control.

    python models/recipes/language.py [--out models] [--work DIR] [--only original] [--seed 1]

Text: the King James Bible (1611, out of copyright in most places), from Debian's packages
bible-kjv and bible-kjv-text. Eight books are the test text, five the validation text by
which training is watched; the tokenizer and the models learn from the other 53.

The original has DeepSeek-V4's architecture: a mixture of experts, a sliding window and both kinds
of compressed attention. The student is dense (Qwen3's architecture) and learns the original's
distribution of the next token at every place of a fifth of the chapters (Kullback-Leibler
divergence over the whole vocabulary). The control has the same first weights, batches and number
of steps, and learns from the text of the same chapters alone. Training goes on where it was
interrupted; it takes about an hour of one core.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    DeepseekV4Config,
    DeepseekV4ForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import kjv  # noqa: E402  (files beside this one, not part of a package on the path)
from language_cards import DATA, Trained, publish, save_checkpoint  # noqa: E402

#: What the three are called in the models' folder.
PUBLISHED = {
    "original": "verse-moe",
    "student": "verse-student",
    "control": "verse-student-ce",
}
NAMES = tuple(PUBLISHED)
VOCABULARY = 1024
#: Ends every chapter; the first token is foretold after it.
END = "<|endoftext|>"
CONTEXT = 4096
#: Tokens of a step, as short sequences; every sixteenth step is one long sequence, so that the
#: models have seen places up to that.
TOKENS, SHORT, LONG_EVERY = 1024, 256, 16
#: Tokens that a document is scored in at once, as `bench` does it.
WINDOW = 1024
RESAMPLES = 10_000
#: How far a router's bias moves in a step against the load of its experts
#: (DeepSeek-V3, arXiv:2412.19437, section 4.2: 0.001).
BALANCE = 1e-3
CHECKPOINT_EVERY = 250

Loss = Callable[[Tensor, Tensor], Tensor]


def original() -> PreTrainedModel:
    """DeepSeek-V4's architecture at 0.93 M parameters: 8 experts of which 2, and one shared."""
    config = DeepseekV4Config(
        vocab_size=VOCABULARY,
        hidden_size=96,
        moe_intermediate_size=80,
        num_hidden_layers=3,
        layer_types=[
            "sliding_attention",
            "compressed_sparse_attention",
            "heavily_compressed_attention",
        ],
        mlp_layer_types=["moe"] * 3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=32,
        partial_rotary_factor=0.5,
        q_lora_rank=48,
        o_lora_rank=32,
        o_groups=2,
        sliding_window=64,
        compress_rates={"compressed_sparse_attention": 4, "heavily_compressed_attention": 32},
        index_n_heads=2,
        index_head_dim=16,
        index_topk=32,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_shared_experts=1,
        hc_mult=2,
        hc_sinkhorn_iters=3,
        max_position_embeddings=CONTEXT,
        initializer_range=0.05,
        bos_token_id=0,
        eos_token_id=0,
    )
    # The other forms of the experts are slower to train (batched_mm more than ten times).
    return DeepseekV4ForCausalLM._from_config(config, experts_implementation="grouped_mm")


def student() -> PreTrainedModel:
    """Qwen3's architecture at 0.43 M parameters."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=288,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=24,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=0,
        eos_token_id=0,
    )
    return Qwen3ForCausalLM(config)


def train_tokenizer(chapters: tuple[kjv.Chapter, ...]) -> Tokenizer:
    """Byte-level BPE, so that no text is unknown to it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((chapter.text for chapter in chapters), trainer)
    return tokenizer


def tokens_of(tokenizer: Tokenizer, chapters: tuple[kjv.Chapter, ...]) -> list[list[int]]:
    """The ids of each chapter, the end's first."""
    end = tokenizer.token_to_id(END)
    return [[end, *tokenizer.encode(chapter.text).ids] for chapter in chapters]


def batch(stream: Tensor, seed: int, step: int) -> Tensor:
    """The sequences of one step [count, length + 1]: the same for every model and each time."""
    length = TOKENS if step % LONG_EVERY == LONG_EVERY - 1 else SHORT
    rng = np.random.default_rng([seed, step])
    starts = rng.integers(0, len(stream) - length - 1, TOKENS // length)
    return torch.stack([stream[start : start + length + 1] for start in starts.tolist()])


def logits_of(net: PreTrainedModel, tokens: Tensor) -> Tensor:
    found: Tensor = net(input_ids=tokens, use_cache=False).logits
    return found


@dataclass(frozen=True)
class Training:
    """How a model is trained."""

    name: str
    steps: int
    rate: float
    seed: int
    warmup: int = 100

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine down to a tenth."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (0.1 + 0.45 * (1 + float(np.cos(np.pi * done))))


def optimiser_of(net: nn.Module) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": 0.1},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))


def train(
    net: PreTrainedModel, stream: Tensor, training: Training, loss: Loss, state: Path
) -> None:
    """Train ``net`` to the end, from the state in the file ``state`` if there is one."""
    optimiser = optimiser_of(net)
    first = _resume(net, optimiser, state)
    net.train()
    started, values = time.time(), []
    for step in range(first, training.steps):
        for group in optimiser.param_groups:
            group["lr"] = training.rate_at(step)
        tokens = batch(stream, training.seed, step)
        with counted_experts(net) as counts:
            value = loss(logits_of(net, tokens[:, :-1]), tokens)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        balance(counts)
        values.append(value.item())
        if (step + 1) % 50 == 0:
            seconds = (time.time() - started) / len(values)
            mean = float(np.mean(values[-50:]))
            print(
                f"{training.name}: step {step + 1}/{training.steps}, loss {mean:.4f}, "
                f"{seconds:.2f} s a step",
                flush=True,
            )
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == training.steps:
            _keep(net, optimiser, step + 1, state)
    net.eval()


def _resume(net: nn.Module, optimiser: torch.optim.Optimizer, state: Path) -> int:
    if not state.is_file():
        return 0
    kept = torch.load(state, weights_only=True)
    net.load_state_dict(kept["net"])
    optimiser.load_state_dict(kept["optimiser"])
    step: int = kept["step"]
    return step


def _keep(net: nn.Module, optimiser: torch.optim.Optimizer, step: int, state: Path) -> None:
    kept = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
    partial = state.with_suffix(".partial")
    torch.save(kept, partial)
    partial.rename(state)


@contextmanager
def counted_experts(net: nn.Module) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """The routers of ``net`` and how many tokens each sent to each expert, in the block."""
    counts: list[tuple[nn.Module, Tensor]] = []

    def count(router: nn.Module, _: object, output: tuple[Tensor, Tensor, Tensor]) -> None:
        scores, _, chosen = output
        counts.append((router, torch.bincount(chosen.flatten(), minlength=scores.shape[-1])))

    routers = [part for part in net.modules() if hasattr(part, "e_score_correction_bias")]
    hooks = [router.register_forward_hook(count) for router in routers]
    yield counts
    for hook in hooks:
        hook.remove()


def balance(counts: list[tuple[nn.Module, Tensor]]) -> None:
    """Make experts that had too many tokens less likely, as DeepSeek does it without a loss."""
    for router, count in counts:
        load = count.float()
        router.e_score_correction_bias += BALANCE * torch.sign(load.mean() - load)


def text_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def distillation_loss(teacher: PreTrainedModel, temperature: float) -> Loss:
    """KL divergence from the teacher's distributions, times T^2 (Hinton et al. 2015, section 2)."""

    def loss(logits: Tensor, tokens: Tensor) -> Tensor:
        with torch.inference_mode():
            taught = functional.log_softmax(
                logits_of(teacher, tokens[:, :-1]) / temperature, -1
            ).flatten(0, 1)
        learned = functional.log_softmax(logits / temperature, -1).flatten(0, 1)
        return (
            functional.kl_div(learned, taught.clone(), reduction="batchmean", log_target=True)
            * temperature**2
        )

    return loss


@dataclass(frozen=True)
class Scores:
    """What a model says of documents, a number of each: bits that their text takes, tokens that it
    foretold right, and their sizes."""

    bits: np.ndarray
    right: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray

    def bits_per_byte(self) -> float:
        return float(self.bits.sum() / self.bytes.sum())

    def accuracy(self) -> float:
        return float(self.right.sum() / self.tokens.sum())


def scores(net: PreTrainedModel, documents: list[list[int]], sizes: list[int]) -> Scores:
    """Each document by itself: windows of `WINDOW` tokens, each half over the one before, of which
    what is scored has at least half a window before it (but for the document's beginning)."""
    net.eval()
    found = [_score(net, torch.tensor(ids)) for ids in documents]
    bits, right, tokens = (np.array(column) for column in zip(*found, strict=True))
    return Scores(bits, right, tokens, np.array(sizes))


def _score(net: PreTrainedModel, ids: Tensor) -> tuple[float, int, int]:
    nats, right, start, scored = 0.0, 0, 0, 0
    while scored < len(ids) - 1:
        seen = ids[start : start + WINDOW + 1]
        with torch.inference_mode():
            logits = logits_of(net, seen[None, :-1])[0, scored - start :]
        wanted = seen[1 + scored - start :]
        nats += float(functional.cross_entropy(logits.double(), wanted, reduction="sum"))
        right += int((logits.argmax(-1) == wanted).sum())
        start, scored = start + WINDOW // 2, scored + len(wanted)
    return nats / math.log(2), right, scored


def interval(over: np.ndarray, under: np.ndarray) -> tuple[float, float]:
    """95% interval of sum by sum, from documents drawn again: tokens of one are alike."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(over), (RESAMPLES, len(over)))
    low, high = np.quantile(over[drawn].sum(1) / under[drawn].sum(1), (0.025, 0.975))
    return float(low), float(high)


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p-value of "neither is better" (Fisher's randomisation test over documents)."""
    signs = np.random.default_rng(0).choice((-1, 1), (RESAMPLES, len(differences)))
    as_far = np.abs(signs @ differences) >= abs(differences.sum()) * (1 - 1e-12)
    return float((1 + as_far.sum()) / (1 + RESAMPLES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, help="the Bible, a verse a line; else program bible")
    parser.add_argument("--out", type=Path, default=HERE.parent)
    parser.add_argument("--work", type=Path, default=Path("language-training"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--original-steps", type=int, default=4500)
    parser.add_argument("--student-steps", type=int, default=3000)
    parser.add_argument("--original-rate", type=float, default=5e-3)
    parser.add_argument("--student-rate", type=float, default=5e-3)
    parser.add_argument(
        "--transfer-every",
        type=int,
        default=5,
        help="of so many chapters one is what the student and its control learn from",
    )
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument(
        "--only",
        choices=NAMES,
        help="train this one (the student needs the original), and write no files",
    )
    arguments = parser.parse_args()
    # Sums come out differently on another number of threads, and training amplifies that.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    Family(arguments).make()


class Family:
    """The three models on their way from text to files."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.out: Path = arguments.out
        self.work: Path = arguments.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.corpus = kjv.read(arguments.text)
        self.tokenizer = train_tokenizer(self.corpus.training)
        self.text = self._stream(self.corpus.training)
        self.transfer = self._stream(self.corpus.training[:: arguments.transfer_every])
        print(f"{len(self.text)} tokens of training text, {len(self.transfer)} to distil on")

    def _stream(self, chapters: tuple[kjv.Chapter, ...]) -> Tensor:
        return torch.tensor([i for ids in tokens_of(self.tokenizer, chapters) for i in ids])

    def make(self) -> None:
        make = {
            "original": self.original,
            "student": lambda: self.small("student"),
            "control": lambda: self.small("control"),
        }
        if self.arguments.only is not None:
            make[self.arguments.only]()
        else:
            self.finish({name: make[name]() for name in NAMES})

    def original(self) -> PreTrainedModel:
        torch.manual_seed(self.arguments.seed)
        net = original()
        steps, rate = self.arguments.original_steps, self.arguments.original_rate
        training = Training("original", steps, rate, self.arguments.seed)
        self._train(net, self.text, training, text_loss)
        return net

    def small(self, name: str) -> PreTrainedModel:
        """The student or its control, from the same first weights."""
        torch.manual_seed(self.arguments.seed)
        net = student()
        steps, rate = self.arguments.student_steps, self.arguments.student_rate
        loss = text_loss
        if name == "student":
            loss = distillation_loss(self.original(), self.arguments.temperature)
        self._train(net, self.transfer, Training(name, steps, rate, self.arguments.seed), loss)
        return net

    def _train(self, net: PreTrainedModel, text: Tensor, training: Training, loss: Loss) -> None:
        train(net, text, training, loss, self.work / f"{training.name}.pt")
        found = self._scores(net, self.corpus.validation)
        print(
            f"{training.name}: validation {found.bits_per_byte():.4f} bits a byte, "
            f"{found.accuracy():.4f} of the next tokens right",
            flush=True,
        )

    def _scores(self, net: PreTrainedModel, chapters: tuple[kjv.Chapter, ...]) -> Scores:
        sizes = [len(chapter.text.encode()) for chapter in chapters]
        return scores(net, tokens_of(self.tokenizer, chapters), sizes)

    def finish(self, nets: dict[str, PreTrainedModel]) -> None:
        """Write the files, and look at the test books, for the only time."""
        (self.out / "data").mkdir(parents=True, exist_ok=True)
        kjv.write_documents(self.corpus.test, kjv.TEST, self.out / DATA)
        found, parameters = {}, {}
        for name, net in nets.items():
            save_checkpoint(net, self.tokenizer, END, self.out / PUBLISHED[name])
            shipped = type(net).from_pretrained(
                self.out / PUBLISHED[name], dtype=torch.float32, trust_remote_code=False
            )
            parameters[name] = sum(weight.numel() for weight in shipped.parameters())
            found[name] = self._scores(shipped, self.corpus.test)
        for trained in describe(self.arguments, parameters, found):
            path = publish(trained, self.out, self.work)
            print(f"wrote {path}: {trained.figures}", flush=True)


def describe(
    arguments: argparse.Namespace, parameters: dict[str, int], found: dict[str, Scores]
) -> Iterator[Trained]:
    """What the three cards say."""
    books = f"53 books of the King James Bible (1,089 chapters), {TOKENS} tokens a step"
    few = f"every fifth of the 1,089 training chapters, {TOKENS} tokens a step"
    lengths = (
        f"Sequences of {SHORT} tokens, every {LONG_EVERY}th step one of {WINDOW}: beyond that "
        "nothing was learned, though the context holds more. "
    )
    choices = (
        "The rate comes from a short comparison of training losses; no choice was made on the "
        "eight test books, which were scored once."
    )

    def figures(name: str) -> dict[str, float | int]:
        score = found[name]
        low, high = interval(score.bits, score.bytes)
        right_low, right_high = interval(score.right, score.tokens)
        original = name == "original"
        return {
            "seed": arguments.seed,
            "parameters": parameters[name],
            "steps": arguments.original_steps if original else arguments.student_steps,
            "documents": len(score.bits),
            "bits_per_byte": score.bits_per_byte(),
            "bits_per_byte_low": low,
            "bits_per_byte_high": high,
            "next_token_accuracy": score.accuracy(),
            "next_token_accuracy_low": right_low,
            "next_token_accuracy_high": right_high,
        }

    steps, rate = arguments.student_steps, arguments.student_rate
    yield Trained(
        name=PUBLISHED["original"],
        description="A small mixture of experts in DeepSeek-V4's architecture: the original.",
        relation="",
        trained_on=f"{books}, {arguments.original_steps} steps, rate {arguments.original_rate:g}",
        notes=lengths
        + "The indexer of its sparse attention keeps its first random weights: no gradient passes "
        "a choice by rank. Beyond 128 tokens exact ties of its scores are broken otherwise by "
        "other runtimes. " + choices,
        figures=figures("original"),
    )
    yield Trained(
        name=PUBLISHED["student"],
        description="A small dense network (Qwen3's architecture) that learned from verse-moe: "
        "the distilled model.",
        relation=f'distilled_from = "{PUBLISHED["original"]}"\n',
        trained_on=f"verse-moe's distributions of the next token (KL divergence, temperature "
        f"{arguments.temperature:g}) for {few}, {steps} steps, rate {rate:g}",
        notes="The original learned from all 1,089 chapters, the control only from the student's "
        "fifth: the difference shows what distilling on little text is worth, not what it adds to "
        "equal text. On all chapters a network like the student's learned as fast as the original "
        "(mean training loss of steps 1,701 to 1,750: 3.09 and 3.14 nats a token). "
        + verdict(found)
        + lengths
        + choices,
        figures={**figures("student"), **difference(found)},
    )
    yield Trained(
        name=PUBLISHED["control"],
        description="The student's network trained on the text alone: the control.",
        relation=f'control_of = "{PUBLISHED["student"]}"\n',
        trained_on=f"{few}, {steps} steps, rate {rate:g}",
        notes="Same seed, first weights, sequences, order and number of steps as verse-student. "
        + lengths
        + choices,
        figures=figures("control"),
    )


def difference(found: dict[str, Scores]) -> dict[str, float]:
    """The student against its control on the same documents."""
    student, control = found["student"], found["control"]
    less = control.bits - student.bits
    low, high = interval(less, student.bytes)
    return {
        "fewer_bits_per_byte_than_control": float(less.sum() / student.bytes.sum()),
        "fewer_bits_per_byte_than_control_low": low,
        "fewer_bits_per_byte_than_control_high": high,
        "fewer_bits_per_byte_than_control_p": sign_flip_p(less),
    }


def verdict(found: dict[str, Scores]) -> str:
    """What distillation did, in a sentence."""
    compared = difference(found)
    low, high = (compared[f"fewer_bits_per_byte_than_control_{end}"] for end in ("low", "high"))
    if low > 0:
        return "On the test books it needs fewer bits a byte than the network without verse-moe. "
    if high < 0:
        return "On the test books it needs more bits a byte than the network without verse-moe. "
    return "On the test books no difference from the network without verse-moe was found. "


if __name__ == "__main__":
    main()
