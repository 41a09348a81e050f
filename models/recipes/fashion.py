"""Train the Fashion-MNIST family: an original, a student distilled from it, and a control.

    python models/recipes/fashion.py [--out models] [--seed 1] [--tune]

Data: Debian's package `dataset-fashion-mnist` (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747).
Of the 60,000 training images 10,000 are set apart for validation; every choice is made on those
(``--tune`` shows them), and the 10,000 test images are looked at once, at the end.

The student learns from the teacher's logits on a small transfer set (Hinton, Vinyals & Dean
2015, arXiv:1503.02531); the control is the same network with the same seed, images, order and
number of steps, and learns from the labels. Both are trained on flipped images half of the time.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from bench.stats.proportion import mcnemar_exact

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import nets  # noqa: E402  (a file beside the recipes, not part of a package on the path)
from cards import CALIBRATION, Trained, publish  # noqa: E402

DATA = Path("/usr/share/datasets/fashion-mnist")
VALIDATION = 10_000
TRANSFER = 6_000
#: Mean and standard deviation of the training images' pixels in [0, 1].
MEAN, STD = 0.2860, 0.3530

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Split:
    """Normalised images (n, 1, 28, 28) and what is learned for each: labels or logits."""

    images: Tensor
    targets: Tensor
    flipped_targets: Tensor

    @classmethod
    def labelled(cls, images: Tensor, labels: Tensor) -> Split:
        return cls(images, labels, labels)


def read_idx(path: Path) -> np.ndarray:
    """An array in the IDX format (http://yann.lecun.com/exdb/mnist/), gzipped."""
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def normalise(images: np.ndarray) -> Tensor:
    """uint8 (n, 28, 28) to float32 (n, 1, 28, 28), as the cards' preprocessing does it."""
    values = (images.astype(np.float32) * np.float32(1 / 255) - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(values[:, None])


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=generator)
    yield from order[: count - count % size].split(size)


def train(
    net: nn.Module, split: Split, loss: Loss, epochs: int, rate: float, seed: int, name: str
) -> None:
    """SGD with Nesterov momentum on a one-cycle schedule, batches of 128."""
    generator = torch.Generator().manual_seed(seed)
    count = len(split.images)
    optimiser = torch.optim.SGD(
        net.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=epochs * (count // 128)
    )
    net.train()
    for epoch in range(epochs):
        started, total = time.time(), 0.0
        for rows in batches(count, 128, generator):
            flip = torch.rand(len(rows), generator=generator) < 0.5
            images = split.images[rows]
            images[flip] = images[flip].flip(3)
            wanted = split.targets[rows].clone()
            wanted[flip] = split.flipped_targets[rows][flip]
            value = loss(net(images), wanted)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            total += value.item()
        mean = total / (count // 128)
        seconds = time.time() - started
        print(f"{name}: epoch {epoch + 1}/{epochs}, loss {mean:.4f}, {seconds:.0f} s", flush=True)
    net.eval()


def predict(net: nn.Module, images: Tensor) -> Tensor:
    """Logits, float32 (n, 10)."""
    net.eval()
    with torch.inference_mode():
        return torch.cat([net(chunk) for chunk in images.split(1000)]).clone()


def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float((predict(net, images).argmax(1) == labels).float().mean())


def distillation_loss(temperature: float) -> Loss:
    """KL divergence of softened outputs, times T^2 (Hinton et al. 2015, section 2)."""

    def loss(outputs: Tensor, teacher_logits: Tensor) -> Tensor:
        return (
            functional.kl_div(
                functional.log_softmax(outputs / temperature, 1),
                functional.log_softmax(teacher_logits / temperature, 1),
                reduction="batchmean",
                log_target=True,
            )
            * temperature**2
        )

    return loss


def student_of(
    split: Split, loss: Loss, epochs: int, rate: float, seed: int, name: str
) -> nn.Module:
    """A student from the same first weights for the same seed, whatever it learns from."""
    torch.manual_seed(seed)
    net = nets.student()
    train(net, split, loss, epochs, rate, seed, name)
    return net


def save(net: nn.Module, path: Path) -> None:
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    save_file(state, path)
    print(f"wrote {path} ({path.stat().st_size} bytes)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=HERE.parent)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--student-epochs", type=int, default=24)
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--student-rate", type=float, default=0.2, help="highest learning rate")
    parser.add_argument("--teacher", type=Path, help="take the teacher's weights from this file")
    parser.add_argument("--tune", action="store_true", help="compare settings on validation data")
    arguments = parser.parse_args()
    # Sums come out differently on another number of threads, and training amplifies that.
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    Family(arguments).make()


class Family:
    """The three models on their way from data to files."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.out: Path = arguments.out
        data: Path = arguments.data
        images = read_idx(data / "train-images-idx3-ubyte.gz")
        labels = torch.from_numpy(read_idx(data / "train-labels-idx1-ubyte.gz").astype(np.int64))
        order = np.random.default_rng(arguments.seed).permutation(len(images))
        held, rest = order[:VALIDATION], order[VALIDATION:]
        self.validation = normalise(images[held]), labels[held]
        self.training = normalise(images[rest]), labels[rest]
        self.transfer = normalise(images[rest[:TRANSFER]]), labels[rest[:TRANSFER]]
        unseen = rest[TRANSFER : TRANSFER + CALIBRATION]
        self.calibration = {
            "images": images[unseen],
            "labels": labels[unseen].numpy().astype(np.uint8),
        }
        self.test_images = read_idx(data / "t10k-images-idx3-ubyte.gz")
        self.test_labels = read_idx(data / "t10k-labels-idx1-ubyte.gz")

    def make(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "data").mkdir(exist_ok=True)
        np.savez_compressed(
            self.out / "data" / "fashion-mnist-test.npz",
            images=self.test_images,
            labels=self.test_labels,
        )
        np.savez_compressed(self.out / "data" / "fashion-mnist-calibration.npz", **self.calibration)
        teacher = self.teacher()
        print(f"teacher: validation accuracy {accuracy(teacher, *self.validation):.4f}")
        images, labels = self.transfer
        taught = Split(images, predict(teacher, images), predict(teacher, images.flip(3)))
        told = Split.labelled(images, labels)
        if self.arguments.tune:
            self.tune(taught, told)
            return
        epochs, seed = self.arguments.student_epochs, self.arguments.seed
        loss = distillation_loss(self.arguments.temperature)
        rate = self.arguments.student_rate
        student = student_of(taught, loss, epochs, rate, seed, "student")
        control = student_of(told, functional.cross_entropy, epochs, rate, seed, "control")
        self.finish({"teacher": teacher, "student": student, "student-ce": control})

    def teacher(self) -> nn.Module:
        torch.manual_seed(self.arguments.seed)
        net = nets.teacher()
        if self.arguments.teacher is not None:
            net.load_state_dict(load_file(self.arguments.teacher))
            return net.eval()
        split = Split.labelled(*self.training)
        epochs, seed = self.arguments.teacher_epochs, self.arguments.seed
        train(net, split, functional.cross_entropy, epochs, 0.1, seed, "teacher")
        save(net, self.out / "fashion-teacher.safetensors")
        return net

    def tune(self, taught: Split, told: Split) -> None:
        """Validation accuracy of the settings that were considered, mean of three seeds."""
        settings: list[tuple[str, Split, Loss]] = [
            (f"distilled at T = {t}", taught, distillation_loss(t)) for t in (1.0, 2.0, 4.0, 8.0)
        ]
        settings.append(("labels only", told, functional.cross_entropy))
        for rate in (0.05, 0.1, 0.2, 0.4):
            for name, split, loss in settings:
                found = [
                    accuracy(
                        student_of(split, loss, self.arguments.student_epochs, rate, seed, name),
                        *self.validation,
                    )
                    for seed in (1, 2, 3)
                ]
                print(f"VALIDATION rate {rate}, {name}: {np.mean(found):.4f} {found}", flush=True)

    def finish(self, models: dict[str, nn.Module]) -> None:
        """Look at the test set, for the only time, and write weights, ONNX files and cards."""
        images, labels = normalise(self.test_images), torch.from_numpy(self.test_labels).long()
        right = {}
        for name, net in models.items():
            save(net, self.out / f"fashion-{name}.safetensors")
            right[name] = predict(net, images).argmax(1) == labels
        if self.out.resolve() != HERE.parent:
            (self.out / "nets.py").write_bytes((HERE.parent / "nets.py").read_bytes())
        test = mcnemar(right["student"], right["student-ce"])
        for trained in describe(self.arguments, {n: int(r.sum()) for n, r in right.items()}, test):
            path = publish(trained, self.out, MEAN, STD)
            print(f"wrote {path}: {trained.figures}")


@dataclass(frozen=True)
class McNemar:
    """The student against its control on the same images."""

    gained: int
    lost: int
    p: float


def mcnemar(student: Tensor, control: Tensor) -> McNemar:
    """The exact McNemar test: a two-sided sign test on the images where only one is right."""
    gained, lost = int((student & ~control).sum()), int((~student & control).sum())
    return McNemar(gained, lost, mcnemar_exact(gained, lost))


def describe(
    arguments: argparse.Namespace, correct: dict[str, int], test: McNemar
) -> Iterator[Trained]:
    """What the three cards say."""
    common = {"seed": arguments.seed}
    small = f"{TRANSFER:,} of the 60,000 training images"
    yield Trained(
        name="fashion-teacher",
        factory="teacher",
        description="A small residual network for Fashion-MNIST: the original.",
        relation="",
        trained_on=f"50,000 labelled training images, {arguments.teacher_epochs} epochs",
        notes="10,000 training images were set apart for validation.",
        figures={**common, "test_correct": correct["teacher"]},
    )
    yield Trained(
        name="fashion-student",
        factory="student",
        description="A three-layer network that learned from fashion-teacher: the distilled model.",
        relation='distilled_from = "fashion-teacher"\n',
        trained_on=(
            f"the teacher's logits (temperature {arguments.temperature:g}) for {small}, "
            f"{arguments.student_epochs} epochs, no labels"
        ),
        notes=(
            "The teacher saw 50,000 labels, the control only those of the transfer set: the "
            "difference shows what distilling on little data is worth, not what it adds to equal "
            "data. Temperature and rate were chosen on validation images of the training set."
        ),
        figures={
            **common,
            "test_correct": correct["student"],
            "only_student_correct": test.gained,
            "only_control_correct": test.lost,
            "mcnemar_exact_p": test.p,
        },
    )
    yield Trained(
        name="fashion-student-ce",
        factory="student",
        description="The student's network trained on labels alone: the control.",
        relation='control_of = "fashion-student"\n',
        trained_on=f"the labels of {small}, {arguments.student_epochs} epochs",
        notes="Same seed, first weights, images, order and number of steps as fashion-student.",
        figures={**common, "test_correct": correct["student-ce"]},
    )


if __name__ == "__main__":
    main()
