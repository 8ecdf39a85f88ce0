"""Small data sets in every layout, as published ones are."""

import csv
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 16
Mask = np.ndarray
Truth = dict[str, tuple[str, Mask | None]]
"""Class of defects and mask of test images, by path."""


class Tree(NamedTuple):
    """A data set on disk, and what a reader has to find in it.

    Attributes:
        source: value of `--data`.
        base: folder that paths are relative to.
        train: the paths of the training images.
        test: of the test images.
        a_mask: the file of a mask of a defective test image; None if there is none.
    """

    source: Path
    base: Path
    train: list[str]
    test: Truth
    a_mask: Path | None


NO_DEFECT = np.zeros((HEIGHT, WIDTH), np.uint8)


def write_image(path: Path) -> None:
    """An image that differs from those of other names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4])
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def write_mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def box(left: int, value: int = 255) -> np.ndarray:
    """A mask with a box of pixels of this value."""
    values = NO_DEFECT.copy()
    values[2:6, left : left + 4] = value
    return values


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def mvtec(root: Path) -> Tree:
    train = [f"train/good/{i:03d}.png" for i in range(3)]
    test: Truth = {"test/good/000.png": ("good", NO_DEFECT), "test/hole/001.png": ("hole", box(1))}
    test["test/hole/002.png"] = ("hole", None)
    for path in (*train, *test):
        write_image(root / path)
    mask = root / "ground_truth/hole/001_mask.png"
    write_mask(mask, box(1))
    return Tree(root, root, train, test, mask)


def mvtec_loco(root: Path) -> Tree:
    train = ["train/good/000.png", "train/good/001.png", "validation/good/000.png"]
    # Two masks that overlap; values below and above half of the range count alike.
    parts = [box(1, 100), box(3, 253)]
    parts[0][9:] = 255
    test: Truth = {
        "test/good/000.png": ("good", NO_DEFECT),
        "test/logical_anomalies/000.png": ("logical_anomalies", parts[0] + parts[1]),
        "test/structural_anomalies/000.png": ("structural_anomalies", box(7)),
        "test/structural_anomalies/001.png": ("structural_anomalies", None),
    }
    for path in (*train, *test):
        write_image(root / path)
    for i, part in enumerate(parts):
        write_mask(root / f"ground_truth/logical_anomalies/000/{i:03d}.png", part)
    mask = root / "ground_truth/structural_anomalies/000/000.png"
    write_mask(mask, box(7, 250))
    return Tree(root, root, train, test, mask)


def mvtec_ad_2(root: Path) -> Tree:
    train = [
        "train/good/000_regular.png",
        "train/good/001_regular.png",
        "validation/good/000_regular.png",
    ]
    test: Truth = {
        "test_public/good/000_regular.png": ("good", NO_DEFECT),
        "test_public/bad/000_overexposed.png": ("bad", box(2)),
    }
    unlabelled = ["test_private/000_regular.png", "test_private_mixed/000_mixed.png"]
    for path in (*train, *test, *unlabelled):
        write_image(root / path)
    mask = root / "test_public/ground_truth/bad/000_overexposed_mask.png"
    write_mask(mask, box(2))
    return Tree(root, root, train, test, mask)


def visa(root: Path) -> Tree:
    """Two categories, of which one is read."""
    folder = root / "VisA"
    table = [("object", "split", "label", "image", "mask")]
    for category in ("candle", "pcb1"):
        images = f"{category}/Data/Images"
        normal = [f"{images}/Normal/{i:04d}.JPG" for i in range(4)]
        table.append((category, "test", "normal", normal[0], ""))
        table += [(category, "train", "normal", path, "") for path in normal[1:]]
        bad, mask = f"{images}/Anomaly/000.JPG", f"{category}/Data/Masks/Anomaly/000.png"
        table.append((category, "test", "anomaly", bad, mask))
        for path in (*normal, bad):
            write_image(folder / path)
        write_mask(folder / mask, np.maximum(box(0, 1), box(8, 200)))
    write_csv(folder / "split_csv/1cls.csv", table)
    images = "candle/Data/Images"
    test: Truth = {
        f"{images}/Normal/0000.JPG": ("good", NO_DEFECT),
        f"{images}/Anomaly/000.JPG": ("anomaly", np.maximum(box(0), box(8))),
    }
    train = [f"{images}/Normal/{i:04d}.JPG" for i in range(1, 4)]
    return Tree(
        folder / "candle", folder, train, test, folder / "candle/Data/Masks/Anomaly/000.png"
    )


def btad(root: Path) -> Tree:
    root /= "01"
    train = [f"train/ok/{i:04d}.bmp" for i in range(3)]
    test: Truth = {"test/ok/0000.bmp": ("good", NO_DEFECT), "test/ko/0000.bmp": ("ko", box(3))}
    test["test/ko/0001.bmp"] = ("ko", box(5))
    for path in (*train, *test):
        write_image(root / path)
    write_mask(root / "ground_truth/ko/0000.bmp", box(3))
    mask = root / "ground_truth/ko/0001.png"
    write_mask(mask, box(5))
    return Tree(root, root, train, test, mask)


def kolektor_sdd(root: Path) -> Tree:
    """Five items of three surfaces, of which one is defective; on the third item two are."""
    train, test = [], {}
    for item in range(1, 6):
        for part in range(3):
            path = f"kos{item:02d}/Part{part}.jpg"
            defective = part == item % 3 or (item, part) == (3, 1)
            truth = box(item + part) if defective else NO_DEFECT
            write_image(root / path)
            write_mask(root / f"kos{item:02d}/Part{part}_label.bmp", truth)
            if defective or item == 5:
                test[path] = ("defect" if defective else "good", truth)
            else:
                train.append(path)
    return Tree(root, root, train, test, root / "kos03/Part0_label.bmp")


def kolektor_sdd2(root: Path) -> Tree:
    train, test = ["train/10000.png", "train/10002.png"], {}
    for path in (*train, "train/10001.png"):
        write_image(root / path)
        write_mask(root / path.replace(".png", "_GT.png"), NO_DEFECT if path in train else box(0))
    for number, truth in (("20000", NO_DEFECT), ("20001", box(4))):
        test[f"test/{number}.png"] = ("defect" if truth.any() else "good", truth)
        write_image(root / f"test/{number}.png")
        write_mask(root / f"test/{number}_GT.png", truth)
    return Tree(root, root, train, test, root / "test/20001_GT.png")


def folders(root: Path) -> Tree:
    """Eleven normal images, of which a fifth is tested on, beside two defective ones."""
    normal = [f"Good/{i:02d}.png" for i in range(11)]
    normal.sort(key=lambda path: hashlib.sha256(path.encode()).hexdigest())
    test: Truth = dict.fromkeys(normal[:2], ("good", NO_DEFECT))
    test |= {"Bad/00.png": ("Bad", box(1)), "Bad/dent/20.png": ("dent", None)}
    for path in (*normal, *test):
        write_image(root / path)
    write_mask(root / "masks/00_mask.png", box(1))
    return Tree(root, root, sorted(normal[2:]), test, root / "masks/00_mask.png")


def flat(root: Path) -> Tree:
    train = ["a.png", "b.JPG", "c.bmp"]
    for path in train:
        write_image(root / path)
    (root / "notes.txt").write_text("not an image")
    return Tree(root, root, train, {}, None)


MANIFEST = [
    ("path", "split", "label", "mask", "remark"),
    ("pictures/2.png", "train", "0", "", "0 and good are one"),
    ("pictures/1.png", "train", "good", "", 'a "quoted", remark'),
    (" pictures/3.png", "test ", "good", "", ""),
    ("./pictures/a, b.png", "test", "scratch", "masks/a.png", ""),
    ("pictures/5.png", "test", "1", "", "no mask"),
]


def manifest(root: Path) -> Tree:
    train = ["pictures/1.png", "pictures/2.png"]
    test: Truth = {
        "pictures/3.png": ("good", NO_DEFECT),
        "pictures/a, b.png": ("scratch", box(1)),
        "pictures/5.png": ("1", None),
    }
    for path in (*train, *test):
        write_image(root / path)
    write_mask(root / "masks/a.png", box(1))
    return Tree(write_csv(root / "parts.csv", MANIFEST), root, train, test, root / "masks/a.png")


TREES: dict[str, Callable[[Path], Tree]] = {
    "mvtec": mvtec,
    "mvtec_loco": mvtec_loco,
    "mvtec_ad_2": mvtec_ad_2,
    "visa": visa,
    "btad": btad,
    "kolektor_sdd": kolektor_sdd,
    "kolektor_sdd2": kolektor_sdd2,
    "folders": folders,
    "flat": flat,
    "manifest": manifest,
}
