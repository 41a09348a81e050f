"""Trains a small student from an original by matching its logits; plain PyTorch, no trainer.

Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network" (arXiv 1503.02531). The
student's network is small and fixed; what matters here is that anybody gets an original and a
distilled model of their own data to measure. Whoever wants better students brings them with cards.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.calibration import shared_samples
from bench.cards.card import Card, DatasetCard
from bench.cards.datasets import Dataset, load_dataset
from bench.cards.distilling.state import TrainingState
from bench.cards.export import run_onnx
from bench.cards.files import relative_to
from bench.cards.ready import Loaded
from bench.cards.text import table_toml, tensors_toml, toml_text
from bench.errors import SpecError, Unavailable
from bench.files import file_stem, make_folder
from bench.unchanged import file_sha256

Say = Callable[[str], None]

#: Share of the training examples that the log's accuracies are of; the student never sees them.
HELD_OUT = 0.1
_BATCH = 128
_TEACHER_BATCH = 100


@dataclass(frozen=True)
class Recipe:
    """How a student is trained; with the data it decides the weights.

    ``control_of`` names a student: its control is the same network, trained on the labels of the
    same examples alone.
    """

    name: str
    epochs: int = 20
    temperature: float = 2.0
    rate: float = 0.1
    width: int = 16
    seed: int = 1
    control_of: str | None = None

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return file_stem(self.name)


def distill(original: Loaded, data: str, recipe: Recipe, out: Path, say: Say) -> Path:
    """Train, and write ``NAME.toml`` with its network and weights to ``out``; gives its path.

    A training that was cut short goes on where it stopped. Raises `SpecError` for a model without
    classes or inputs that don't fit, for training data that hold test examples, and for another
    recipe than the one begun in ``out``; `Unavailable` without torch.
    """
    try:
        import torch  # torch: optional
    except ImportError as error:
        raise Unavailable(
            "training needs PyTorch, which is not installed.", "pip install 'infer-bench[torch]'"
        ) from error
    training = _training_data(original, data)
    for words in training.notes:
        say(f"note: {words}")
    classes = _classes(original.card)
    make_folder(out)
    network = out / f"{recipe.stem}.py"
    network.write_text(_network(original.card, classes, recipe.width), encoding="utf-8")
    targets = _targets(original, training, recipe, say)
    torch.manual_seed(recipe.seed)
    # Whatever the caller computes in, training needs gradients.
    with torch.inference_mode(False), torch.enable_grad():
        net = _import(network)()
        _train(net, training, targets, recipe, out, say)
    _save(net, out / f"{recipe.stem}.safetensors")
    (out / f"{recipe.stem}.training.pt").unlink(missing_ok=True)
    card = out / f"{recipe.stem}.toml"
    card.write_text(_card(original.card, training, recipe, out), encoding="utf-8")
    return card


# -- data -----------------------------------------------------------------------------------------


def _training_data(original: Loaded, data: str) -> Dataset:
    card = original.card
    if card.task != "classification" or card.dataset is None or original.dataset is None:
        raise SpecError(
            f"{card.name}: distilling needs a classifier with a [dataset] that both models are "
            "scored on."
        )
    if len(card.inputs) != 1 or len(card.inputs[0].shape) not in (2, 4):
        raise SpecError(
            f"{card.name}: the recipe's student takes one input, vectors (batch, n) or images "
            "(batch, channels, height, width); train your own and give it a card."
        )
    update = {"name": Path(data).name, "path": str(Path(data).absolute()), "split": "train"}
    like: DatasetCard = card.dataset.model_copy(update=update)
    found = load_dataset(card.model_copy(update={"dataset": like}))
    shared = shared_samples(found.inputs, original.dataset.inputs)
    if shared:
        raise SpecError(
            f"{data}: {shared} of {found.examples} training examples are also in the test set "
            f"{card.dataset.name}, so the student's accuracy would be too high."
        )
    if found.examples < 2 * _BATCH:
        raise SpecError(f"{data}: {found.examples} examples; at least {2 * _BATCH} are needed.")
    return found


def _classes(card: Card) -> int:
    widths = [tensor.shape[-1] for tensor in card.outputs if len(tensor.shape) == 2]
    named = len(card.dataset.classes) if card.dataset else 0
    width = next((w for w in widths if isinstance(w, int)), named)
    if not width:
        raise SpecError(f"{card.name}: the card doesn't give the number of classes: add `outputs`.")
    return width


def _targets(original: Loaded, training: Dataset, recipe: Recipe, say: Say) -> Array:
    """The original's logits, float32 (n, classes); for a control the labels, int64 (n,)."""
    if recipe.control_of:
        if training.labels is None:
            raise SpecError(f"{training.name}: a control is trained on labels, but it has none.")
        return training.labels
    assert original.file.onnx is not None
    say(f"asking {original.card.name} about {training.examples} examples")
    ((name, inputs),) = training.inputs.items()
    chunks = [
        run_onnx(original.file.onnx, {name: inputs[start : start + _TEACHER_BATCH]})[0]
        for start in range(0, training.examples, _TEACHER_BATCH)
    ]
    return np.concatenate(chunks).astype(np.float32)


# -- training -------------------------------------------------------------------------------------


def _train(
    net: Any, training: Dataset, targets: Array, recipe: Recipe, out: Path, say: Say
) -> None:
    """SGD with Nesterov momentum on a one-cycle schedule; a state file after each epoch."""
    import torch  # torch: optional

    inputs = torch.from_numpy(next(iter(training.inputs.values())))
    wanted = torch.from_numpy(targets)
    order = torch.from_numpy(np.random.default_rng(recipe.seed).permutation(len(inputs)))
    held, seen = order.split(
        [round(HELD_OUT * len(order)), len(order) - round(HELD_OUT * len(order))]
    )
    optimiser = torch.optim.SGD(
        net.parameters(), lr=recipe.rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    steps = len(seen) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.rate, total_steps=recipe.epochs * steps
    )
    state = TrainingState(
        out / f"{recipe.stem}.training.pt",
        asdict(recipe),
        {"net": net, "optimiser": optimiser, "schedule": schedule},
    )
    loss_of = _loss(recipe)
    done = state.resume().get("epochs", 0)
    if done:
        say(f"{recipe.name}: resuming after epoch {done}")
    for epoch in range(done, recipe.epochs):
        generator = torch.Generator().manual_seed(recipe.seed * 1000 + epoch)
        rows_of = seen[torch.randperm(len(seen), generator=generator)]
        net.train()
        total = 0.0
        for step in range(steps):
            rows = rows_of[step * _BATCH : (step + 1) * _BATCH]
            loss = loss_of(net(inputs[rows]), wanted[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        right = _held_out(net, inputs[held], wanted[held])
        _log(out / f"{recipe.stem}.log.csv", epoch + 1, total / steps, right)
        state.keep({"epochs": epoch + 1})
        say(
            f"{recipe.name}: epoch {epoch + 1}/{recipe.epochs}, loss {total / steps:.4f}, "
            f"{right:.1%} correct on held-out examples"
        )
    net.eval()


def _loss(recipe: Recipe) -> Callable[[Any, Any], Any]:
    """Cross-entropy with the labels, or KL divergence of softened outputs times T^2 (section 2 of
    the paper)."""
    from torch.nn import functional  # torch: optional

    if recipe.control_of:
        return functional.cross_entropy
    t = recipe.temperature

    def divergence(outputs: Any, logits: Any) -> Any:
        mine, theirs = functional.log_softmax(outputs / t, 1), functional.log_softmax(logits / t, 1)
        return functional.kl_div(mine, theirs, reduction="batchmean", log_target=True) * t**2

    return divergence


def _held_out(net: Any, inputs: Any, wanted: Any) -> float:
    """Share of the held-out examples with the wanted class: the original's, or the label."""
    import torch  # torch: optional

    net.eval()
    with torch.inference_mode():
        predicted = torch.cat([net(part) for part in inputs.split(1000)]).argmax(1)
    right = wanted if wanted.ndim == 1 else wanted.argmax(1)
    return float((predicted == right).float().mean())


def _log(path: Path, epoch: int, loss: float, right: float) -> None:
    """One line an epoch; the first epoch begins the file anew."""
    with open(path, "w" if epoch == 1 else "a", newline="", encoding="utf-8") as file:
        rows: list[Sequence[object]] = [("epoch", "loss", "held_out")] if epoch == 1 else []
        csv.writer(file).writerows([*rows, (epoch, f"{loss:.6f}", f"{right:.6f}")])


# -- files ----------------------------------------------------------------------------------------


def _network(card: Card, classes: int, width: int) -> str:
    """The student's network as a file of its own: three convolutions, or three linear layers."""
    tensor = card.inputs[0]
    name = tensor.name if tensor.name.isidentifier() else "x"
    size = tensor.shape[1]
    if len(tensor.shape) == 4:
        widths = [size, width, 3 * width // 2, 5 * width // 2]
        layers = ",\n            ".join(
            f"nn.Conv2d({a}, {b}, 3, stride=2, padding=1, bias=False),\n"
            f"            nn.BatchNorm2d({b}),\n            nn.ReLU()"
            for a, b in pairwise(widths)
        )
        layers += ",\n            nn.AdaptiveAvgPool2d(1),\n            nn.Flatten()"
        last = widths[-1]
    else:
        last = 4 * width
        layers = (
            f"nn.Linear({size}, {last}),\n            nn.ReLU(),\n"
            f"            nn.Linear({last}, {last}),\n            nn.ReLU()"
        )
    return f'''"""The network of a distilled model, as `bench model distill` made it."""

from torch import nn


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            {layers},
        )
        self.classify = nn.Linear({last}, {classes})

    def forward(self, {name}):
        return self.classify(self.features({name}))


def student():
    return Student()
'''


def _import(path: Path) -> Callable[[], Any]:
    spec = importlib.util.spec_from_file_location("bench_student", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    factory: Callable[[], Any] = module.student
    return factory


def _save(net: Any, path: Path) -> None:
    from safetensors.torch import save_file  # torch: optional

    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, str(path))


def _card(original: Card, training: Dataset, recipe: Recipe, out: Path) -> str:
    """The student's card: its files, the original's labelled data, and how it was made."""
    assert original.dataset is not None
    data = original.dataset.model_dump(mode="json", exclude_defaults=True)
    data["path"] = relative_to(original.file(original.dataset.path), out)
    calibration = {}
    if original.calibration is not None:
        calibration = original.calibration.model_dump(mode="json", exclude_defaults=True)
        calibration["path"] = relative_to(original.file(original.calibration.path), out)
    from_ = "the labels of" if recipe.control_of else f"the logits of {original.name} on"
    said = (
        f"{from_} {training.examples} examples of {training.name}; temperature "
        f"{recipe.temperature:g}, {recipe.epochs} epochs, seed {recipe.seed}"
    )
    relation = f"distilled_from = {toml_text(original.name)}\n"
    if recipe.control_of:
        relation = f"control_of = {toml_text(recipe.control_of)}\n"
    files = [f"{recipe.stem}.py", f"{recipe.stem}.safetensors"]
    digests = "\n".join(f"{toml_text(n)} = {toml_text(file_sha256(out / n))}" for n in files)
    return (
        f'name = {toml_text(recipe.name)}\ntask = "classification"\n{relation}\n[source]\n'
        f"torch = {toml_text(files[0] + ':student')}\nweights = {toml_text(files[1])}\n\n"
        + "\n".join(tensors_toml("inputs", original.inputs))
        + "\n"
        + "\n".join(tensors_toml("outputs", original.outputs))
        + "\n"
        + table_toml("dataset", data)
        + table_toml("calibration", calibration)
        + f'[provenance]\ntrained_on = {toml_text(said)}\nrecipe = "bench model distill"\n\n'
        + f"[provenance.sha256]\n{digests}\n"
    )
