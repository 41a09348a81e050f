"""Images: a folder with one folder a class, and the decoding that other formats share."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card, Preprocessing
from bench.cards.datasets.base import Stored, folder_sha256
from bench.errors import SpecError, Unavailable

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def is_folder_of_images(path: Path) -> bool:
    """Whether some folder in ``path`` holds an image."""
    return path.is_dir() and any(_images(folder) for folder in _folders(path))


def read(path: Path, card: Card) -> Stored:
    """Every image below ``path``, labelled by its folder.

    Classes are numbered as the card's ``dataset.classes`` name them, else by the sorted names of
    the folders. Raises `SpecError` for folders that don't match the classes and for a broken image.
    """
    assert card.dataset is not None
    folders = {folder.name: folder for folder in _folders(path)}
    classes = card.dataset.classes or tuple(sorted(folders))
    _refuse_other_classes(path, card, folders, classes)
    files = [(file, label) for label, name in enumerate(classes) for file in _images(folders[name])]
    how = card.dataset.preprocessing
    decoded = [decode(file.read_bytes(), how, str(file)) for file, _ in files]
    return Stored(
        sha256=folder_sha256(path, [file for file, _ in files]),
        arrays={card.inputs[0].name: stack(decoded, str(path))},
        labels=np.array([label for _, label in files], dtype=np.int64),
        classes=classes,
    )


def decode(data: bytes, how: Preprocessing, where: str) -> Array:
    """One image as uint8 of shape (height, width, channels), resized and cropped.

    Raises `SpecError` for data that is no image; `Unavailable` without Pillow.
    """
    try:
        from PIL import Image, ImageOps  # PIL: optional
    except ImportError as error:
        raise Unavailable(
            "Pillow is not installed, which reading images needs.",
            "pip install 'infer-bench[images]'",
        ) from error
    try:
        image = Image.open(io.BytesIO(data))
        if image.mode.startswith(("I", "F")):  # Pillow's conversion would cut values off at 255
            raise ValueError(f"its pixels ({image.mode}) have more than 8 bits; save it with 8")
        # As the camera was held: an orientation in the file's notes counts.
        image = ImageOps.exif_transpose(image).convert("RGB" if how.colour == "rgb" else "L")
    except Exception as error:
        raise SpecError(f"{where}: not a readable image: {error}.") from error
    if how.resize is not None:
        scale = how.resize / min(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if how.size is not None:
        image = image.resize((how.size[1], how.size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]
    return pixels if how.crop is None else _centre(pixels, how.crop, where)


def stack(images: list[Array], where: str) -> Array:
    """Images of one size as one array. Raises `SpecError` where sizes differ."""
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        some = ", ".join(f"{h}x{w}" for h, w, _ in sorted(sizes)[:3])
        raise SpecError(
            f"{where}: the images differ in size ({some}); set `dataset.preprocessing.size`, or "
            "`resize` and `crop`."
        )
    return np.stack(images)


def _centre(pixels: Array, crop: tuple[int, int], where: str) -> Array:
    top, left = (pixels.shape[0] - crop[0]) // 2, (pixels.shape[1] - crop[1]) // 2
    if top < 0 or left < 0:
        height, width = pixels.shape[:2]
        raise SpecError(
            f"{where}: it is {height}x{width}, smaller than the crop of {crop[0]}x{crop[1]}; set "
            "`dataset.preprocessing.resize`."
        )
    return pixels[top : top + crop[0], left : left + crop[1]]


def _refuse_other_classes(
    path: Path, card: Card, folders: dict[str, Path], classes: tuple[str, ...]
) -> None:
    extra = sorted(set(folders) - set(classes))
    absent = [name for name in classes if name not in folders]
    if extra or absent:
        parts = [f"no folder for {', '.join(absent[:3])}"] if absent else []
        parts += [f"a folder {', '.join(extra[:3])} that is no class"] if extra else []
        raise SpecError(
            f"{path}: it has {' and '.join(parts)} of `dataset.classes` in {card.path.name}; make "
            "the two agree."
        )
    empty = [name for name in classes if not _images(folders[name])]
    if empty:
        raise SpecError(
            f"{path}: the folder {empty[0]} holds no image ({', '.join(SUFFIXES)}); add some, or "
            "remove the class."
        )


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
