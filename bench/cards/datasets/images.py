"""Images: a folder with one folder a class, and the decoding that other formats share."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card, Preprocessing
from bench.cards.datasets.base import Stored, counted, folder_sha256
from bench.cards.datasets.labels import refuse_one_name_for_two
from bench.errors import SpecError, Unavailable, without_stop

if TYPE_CHECKING:
    from PIL.Image import Image

#: What folders are called that hold one part of a data set each, with the classes below.
SPLITS = frozenset(
    ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval")
)
#: What Windows, macOS (in archives) and Synology (thumbnails) leave beside a user's files.
_SYSTEM = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"),
        *("$recycle.bin", "system volume information", "lost+found"),
    )
)
_HIDDEN = "hidden or created by the operating system"
_NO_IMAGE = "not in an image format that Pillow reads"
_LOOSE = "outside the class folders"


# -- folders --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Folder:
    """What a folder with one folder a class holds; paths are relative to it.

    ``images`` has an entry for each visible folder, with the images at any depth below it.
    ``left_out`` maps a reason, as the end of a sentence, to the files that it is about.
    """

    images: Mapping[str, tuple[Path, ...]]
    left_out: Mapping[str, tuple[Path, ...]]

    def notes(self) -> Iterator[str]:
        for why, files in self.left_out.items():
            number = counted(len(files), "file is", "files are")
            yield f"{number} left out, {why}; the first is {files[0].as_posix()}"
        deep = [file for files in self.images.values() for file in files if len(file.parts) > 2]
        if deep:
            number = counted(len(deep), "image is", "images are")
            yield (
                f"{number} in folders inside a class folder and counted for that class; the first "
                f"is {deep[0].as_posix()}"
            )


def holds_images(path: Path) -> bool:
    """Whether there is an image in ``path``, at any depth."""
    return path.is_dir() and any(_is_image(file.relative_to(path)) for file in _files(path))


def count(path: Path) -> int:
    """How many images there are in ``path``, at any depth."""
    return sum(_is_image(file.relative_to(path)) for file in _files(path))


def read(path: Path, card: Card) -> Stored:
    """Every image below ``path``, labelled by its folder.

    Classes are numbered as the card's ``dataset.classes`` name them, else by the sorted names of
    the folders. Raises `SpecError` for folders that don't match the classes and for a broken image.
    """
    assert card.dataset is not None
    if len(card.inputs) > 1:
        raise SpecError(
            f"{path}: a folder of images fills one input, but {card.name} takes "
            f"{len(card.inputs)}; make an npz file or a table with all of them."
        )
    path = _of_split(path, card)
    found = _look_through(path)
    classes = card.dataset.classes or _classes_of(found, path)
    refuse_one_name_for_two(classes, path)
    _refuse_other_classes(path, card, found, classes)
    files = [
        (path / file, label) for label, name in enumerate(classes) for file in found.images[name]
    ]
    how = card.dataset.preprocessing
    pictures = [decode(file.read_bytes(), how, str(file)) for file, _ in files]
    names = [file.relative_to(path).as_posix() for file, _ in files]
    return Stored(
        sha256=folder_sha256(path, [file for file, _ in files]),
        arrays={card.inputs[0].name: stack(pictures, str(path))},
        labels=np.array([label for _, label in files], dtype=np.int64),
        classes=classes,
        notes=(*found.notes(), *picture_notes(pictures, names)),
    )


def _of_split(path: Path, card: Card) -> Path:
    """The folder of the card's split, where ``path`` holds a folder for each split."""
    assert card.dataset is not None
    names = {folder.name for folder in _folders(path)}
    if not names or not {name.lower() for name in names} <= SPLITS:
        return path
    if names <= set(card.dataset.classes):
        return path
    if card.dataset.split not in names:
        raise SpecError(
            f"{path}: its folders are splits ({', '.join(sorted(names))}), not classes; name one "
            f"in `dataset.split` of {card.path.name}, or in `path`."
        )
    return path / card.dataset.split


def _look_through(path: Path) -> _Folder:
    images: dict[str, list[Path]] = {folder.name: [] for folder in _folders(path)}
    left_out: dict[str, list[Path]] = {}
    for file in (file.relative_to(path) for file in _files(path)):
        if not _is_visible(file):
            left_out.setdefault(_HIDDEN, []).append(file)
        elif not _is_image(file):
            left_out.setdefault(_NO_IMAGE, []).append(file)
        elif len(file.parts) == 1:
            left_out.setdefault(_LOOSE, []).append(file)
        else:
            images[file.parts[0]].append(file)
    return _Folder(
        {name: tuple(files) for name, files in images.items()},
        {why: tuple(files) for why, files in left_out.items()},
    )


def _classes_of(found: _Folder, path: Path) -> tuple[str, ...]:
    """The folders in the order of their names, as torchvision's and Keras's loaders number them."""
    if not found.images:
        loose = found.left_out[_LOOSE]
        raise SpecError(
            f"{path}: {counted(len(loose), 'image is', 'images are')} outside the class folders "
            "(the "
            f"first is {loose[0]}); put them into one folder a class."
        )
    names = sorted(found.images)
    if all(name.isdecimal() for name in names) and names != sorted(names, key=int):
        raise SpecError(
            f"{path}: the folders are numbers, and their order as text ({', '.join(names[:3])}, "
            "...) differs from their order as numbers; name them in `dataset.classes`, in the "
            "order of the "
            "model's outputs."
        )
    return tuple(names)


def _refuse_other_classes(path: Path, card: Card, found: _Folder, classes: tuple[str, ...]) -> None:
    extra = sorted(set(found.images) - set(classes))
    absent = [name for name in classes if name not in found.images]
    if extra or absent:
        parts = [f"no folder for {', '.join(absent[:3])}"] if absent else []
        parts += [f"a folder {', '.join(extra[:3])} that is not a class"] if extra else []
        raise SpecError(
            f"{path}: it has {' and '.join(parts)} of `dataset.classes` in {card.path.name}; make "
            "the two agree."
        )
    empty = [name for name in classes if not found.images[name]]
    if empty:
        raise SpecError(
            f"{path}: the folder {empty[0]} has no image that Pillow can read; add some, or "
            "remove the class."
        )


def _files(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Every file below ``folder``, also behind links; a link to a folder above it is no file."""
    above = above | {folder.resolve()}
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir():
            yield entry
        elif entry.resolve() not in above:
            yield from _files(entry, above)


def _folders(path: Path) -> list[Path]:
    """The visible folders in ``path``, wherever that lies: below ``~/.cache``, for example."""
    return [f for f in sorted(path.iterdir()) if f.is_dir() and _is_visible(Path(f.name))]


def _is_visible(file: Path) -> bool:
    """Of a path within a data set."""
    return not any(part.startswith(".") or part.lower() in _SYSTEM for part in file.parts)


def _is_image(file: Path) -> bool:
    return _is_visible(file) and file.suffix.lower() in _suffixes()


# -- pictures -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """Pixels as uint8 of shape (height, width, channels), and what of the image they leave out."""

    pixels: Array
    frames: int = 1
    transparent: bool = False


def decode(data: bytes, how: Preprocessing, where: str) -> Picture:
    """One image, resized and cropped; of several frames the first.

    Raises `SpecError` for data that is no image; `Unavailable` without Pillow.
    """
    pillow = _pillow()
    from PIL import ImageOps  # PIL: optional

    try:
        image = pillow.open(io.BytesIO(data))
        frames = getattr(image, "n_frames", 1)
        if image.mode.startswith(("I", "F")):  # Pillow's conversion would cut values off at 255
            raise ValueError(f"its pixels ({image.mode}) have more than 8 bits; save it with 8")
        # As the camera was held: the file may say how to turn it.
        image, transparent = _opaque(ImageOps.exif_transpose(image))
        image = image.convert("RGB" if how.colour == "rgb" else "L")
    except Exception as error:  # each of Pillow's plugins has its own kinds
        unknown = isinstance(error, pillow.UnidentifiedImageError)
        reason = "not in a format that Pillow knows" if unknown else without_stop(str(error))
        raise SpecError(
            f"{where}: not a readable image: {reason}. Repair it, or leave it out."
        ) from error
    pixels = np.asarray(_resized(image, how))
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]
    pixels = pixels if how.crop is None else _centre(pixels, how.crop, where)
    return Picture(pixels, frames, transparent)


def _opaque(image: Image) -> tuple[Image, bool]:
    """The colours that are stored, as torchvision and Keras read them, and whether some can be
    seen through."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image, False
    alpha = image.convert("RGBA").getchannel("A")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image, bool(np.asarray(alpha).min() < 255)


def _resized(image: Image, how: Preprocessing) -> Image:
    bilinear = _pillow().Resampling.BILINEAR
    if how.resize is not None:
        scale = how.resize / min(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), bilinear)
    if how.size is not None:
        image = image.resize((how.size[1], how.size[0]), bilinear)
    return image


def stack(pictures: Sequence[Picture], where: str) -> Array:
    """Images of one size as one array. Raises `SpecError` where sizes differ."""
    sizes = {picture.pixels.shape for picture in pictures}
    if len(sizes) > 1:
        some = ", ".join(f"{h}x{w}" for h, w, _ in sorted(sizes)[:3])
        raise SpecError(
            f"{where}: the images differ in size ({some}); set `dataset.preprocessing.size`, or "
            "`resize` and `crop`."
        )
    return np.stack([picture.pixels for picture in pictures])


def picture_notes(pictures: Sequence[Picture], names: Sequence[str]) -> Iterator[str]:
    """What the pixels leave out of the images called ``names``."""
    several = [name for name, p in zip(names, pictures, strict=True) if p.frames > 1]
    if several:
        number = counted(len(several), "image has", "images have")
        yield f"{number} several frames, of which the first is read; the first is {several[0]}"
    clear = [name for name, p in zip(names, pictures, strict=True) if p.transparent]
    if clear:
        number = counted(len(clear), "image has", "images have")
        yield (
            f"{number} transparent pixels, read as the colour that is stored for them; the first "
            f"is {clear[0]}"
        )


def _centre(pixels: Array, crop: tuple[int, int], where: str) -> Array:
    top, left = (pixels.shape[0] - crop[0]) // 2, (pixels.shape[1] - crop[1]) // 2
    if top < 0 or left < 0:
        height, width = pixels.shape[:2]
        raise SpecError(
            f"{where}: it is {height}x{width}, smaller than the crop of {crop[0]}x{crop[1]}; set "
            "`dataset.preprocessing.resize`."
        )
    return pixels[top : top + crop[0], left : left + crop[1]]


def _pillow() -> Any:
    try:
        from PIL import Image  # PIL: optional
    except ImportError as error:
        raise Unavailable(
            "reading images needs Pillow, which is not installed.",
            "pip install 'infer-bench[images]'",
        ) from error
    return Image


@lru_cache
def _suffixes() -> frozenset[str]:
    """Of all image files that Pillow, with the plugins that it has here, can open."""
    pillow = _pillow()
    kinds = pillow.registered_extensions()
    return frozenset(suffix for suffix, kind in kinds.items() if kind in pillow.OPEN)
