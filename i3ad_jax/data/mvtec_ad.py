"""MVTec AD through TensorFlow Datasets (TFDS), without TensorFlow.

The licence of the data, CC BY-NC-SA 4.0, asks for registration and forbids commercial use. So this
module does not download it: the user puts the official archive, or what it contains, where TFDS
expects manual downloads. From there one category at a time is prepared as ArrayRecord files. The
stored bytes are the original files; they are decoded by the same functions as the files of a
folder.
"""

import io
import lzma
import os
import shutil
import tarfile
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

# TFDS imports it, and array_record, only when it needs them, and then fails with a traceback
# without them.
import importlib_resources  # noqa: F401
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from PIL import Image

from i3ad_jax.data.dataset import NORMAL, Dataset, Split
from i3ad_jax.data.files import open_file
from i3ad_jax.data.images import Aspect, Size
from i3ad_jax.data.layouts import LAYOUTS
from i3ad_jax.data.samples import Sample, read_sample, read_split
from i3ad_jax.errors import InputError

CATEGORIES = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut"),
    *("pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
)

_SOURCE = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
_CITATION = """
@inproceedings{bergmann2019mvtec,
  title = {{MVTec AD} -- A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection},
  author = {Bergmann, Paul and Fauser, Michael and Sattlegger, David and Steger, Carsten},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2019},
}
"""


class MvtecAd(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of MVTec AD, one config for each category.

    An example has the `image` and its `mask` (all 0 for a normal image) as the original PNG files,
    `label` (good or anomalous), the `defect` class, and the `path` inside the category's folder.
    """

    VERSION = tfds.core.Version("1.0.0")
    renamed = ("", "")
    """Folder of an extracted archive, which is gone when its errors are read, and the archive."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=category) for category in CATEGORIES]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Get mvtec_anomaly_detection.tar.xz, or CATEGORY.tar.xz, from {_SOURCE} and put it here, "
        "or the folders of categories that it contains."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Normal and defective objects and textures, with masks of the defects.",
            homepage=_SOURCE,
            citation=_CITATION,
            license="CC BY-NC-SA 4.0",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),
                    "mask": tfds.features.Image(shape=(None, None, 1)),
                    "label": tfds.features.ClassLabel(names=[NORMAL, "anomalous"]),
                    "defect": tfds.features.Text(),
                    "path": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        manual_dir, category = Path(dl_manager.manual_dir), self.info.config_name
        root = manual_dir / category
        if not root.is_dir():
            extracted = Path(tempfile.mkdtemp(prefix="mvtec_ad_"))
            # The examples are read after this function has returned: the files live as long as the
            # builder.
            weakref.finalize(self, shutil.rmtree, extracted)
            archive = _find_archive(manual_dir, category)
            root = _extract(archive, category, extracted)
            self.renamed = (f"{extracted}{os.sep}", f"{archive}: ")
        train, test = LAYOUTS["mvtec"].list_samples(root)
        if not train:
            raise InputError(LAYOUTS["mvtec"].no_train(root))
        if not test:
            raise InputError(f"{root / 'test'}: no images; get the whole data set again")
        return {"train": self._generate_examples(train), "test": self._generate_examples(test)}

    def _generate_examples(self, samples: list[Sample]) -> Iterator[tuple[str, dict[str, Any]]]:
        for sample in samples:
            # Damaged files are refused here, not at every later use.
            image = read_sample(sample).image
            if not sample.masks and sample.defect != NORMAL:
                raise InputError(
                    f"{sample.image}: its mask is missing; get the whole data set again"
                )
            yield (
                sample.path,
                {
                    "image": sample.image,
                    "mask": sample.masks[0] if sample.masks else _blank_png(image.size),
                    "label": NORMAL if sample.defect == NORMAL else "anomalous",
                    "defect": sample.defect,
                    "path": sample.path,
                },
            )


def load_mvtec_ad(
    category: str, *, size: Size, aspect: Aspect, memory: int | None = None, progress: bool = False
) -> Dataset:
    """A category of MVTec AD, with the same arrays that `read_folder` gives for its folder.

    The first call prepares the category in the folder that the environment variable TFDS_DATA_DIR
    names (default: ~/tensorflow_datasets) from the files in its subfolder downloads/manual.

    Raises:
        InputError: the category is unknown, or its files are missing or damaged.
    """
    if category not in CATEGORIES:
        known = ", ".join(CATEGORIES)
        raise InputError(f"--data tfds:mvtec_ad/{category}: no such category; use one of {known}")
    data_dir = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    manual_dir = data_dir / "downloads" / "manual"
    folder = data_dir / "mvtec_ad" / category
    with _one_line(f"{folder}: cannot be read", f"delete {folder} and run again"):
        for file in folder.glob("*/*"):
            open_file(file).close()  # TFDS would wait for ever for what a pipe gives
        builder = MvtecAd(config=category, data_dir=data_dir)
    if not builder.data_path.exists():  # TFDS gives the folder this name only once it is complete.
        if not (manual_dir / category).is_dir():
            # Refuse here: TFDS answers an empty folder with a traceback.
            _find_archive(manual_dir, category)
        _prepare(builder, manual_dir)

    def read(split: str) -> Split:
        with _one_line(f"{builder.data_dir}: cannot be read", "delete this folder and run again"):
            return _read_prepared(
                builder, split, size=size, aspect=aspect, memory=memory, progress=progress
            )

    return Dataset(f"mvtec_ad/{category}", partial(read, "train"), partial(read, "test"))


def _prepare(builder: MvtecAd, manual_dir: Path) -> None:
    """Makes the ArrayRecord files of a category from the files in `manual_dir`."""
    with _one_line(
        f"{builder.data_dir}: cannot be prepared", "make room, or name another by TFDS_DATA_DIR"
    ):
        try:
            builder.download_and_prepare(
                file_format="array_record",
                download_config=tfds.download.DownloadConfig(
                    manual_dir=manual_dir, try_download_gcs=False
                ),
            )
        except InputError as error:
            raise InputError(str(error).replace(*builder.renamed)) from error


@contextmanager
def _one_line(problem: str, way_out: str) -> Iterator[None]:
    """Raise as InputError whatever TFDS, protobuf or Riegeli, the format of the records, raises."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{problem} ({reason}); {way_out}") from error


def _read_prepared(
    builder: MvtecAd, name: str, *, size: Size, aspect: Aspect, memory: int | None, progress: bool
) -> Split:
    """A prepared split in the order of its paths; TFDS stores it shuffled."""
    files = builder.info.splits[name].filepaths if name in builder.info.splits else []
    if not files or not all(file.exists() for file in files):
        raise InputError(
            f"{builder.data_dir}: its files are incomplete; delete this folder and run again"
        )
    undecoded = tfds.decode.SkipDecoding()
    sources: Any = builder.as_data_source(decoders={"image": undecoded, "mask": undecoded})
    examples = sources[name]
    if len(examples) != len(ArrayRecordDataSource([os.fspath(file) for file in files])):
        raise InputError(
            f"{builder.data_dir}: its files do not fit together; delete this folder and run again"
        )

    def sample_at(i: int) -> Sample:
        example = examples[i]
        path, defect = example["path"].decode(), example["defect"].decode()
        return Sample(path, defect, example["image"], (example["mask"],))

    split = read_split(
        sample_at, len(examples), size=size, aspect=aspect, memory=memory, progress=progress
    )
    return split.take(np.argsort(split.paths))


def _find_archive(manual_dir: Path, category: str) -> Path:
    """The archive in `manual_dir` that holds the category."""
    for name in (f"{category}.tar.xz", "mvtec_anomaly_detection.tar.xz"):
        if (manual_dir / name).is_file():
            return manual_dir / name
    raise InputError(
        f"{manual_dir}: put MVTec AD there, as mvtec_anomaly_detection.tar.xz, {category}.tar.xz "
        f"or the folder {category}; it is offered at {_SOURCE}"
    )


def _extract(archive: Path, category: str, folder: Path) -> Path:
    """The category's folder, extracted from `archive` into `folder`."""
    if not hasattr(tarfile, "data_filter"):
        raise InputError(
            f"{archive}: this Python cannot extract it safely; extract it or use Python 3.11.4 or"
            " later"
        )
    try:
        # A stream: going back in an xz file is slow. Not tarfile's own "r|xz", which takes the end
        # of a truncated file for the end of the archive.
        with lzma.open(archive) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            wanted = (
                member for member in tar if PurePosixPath(member.name).parts[:1] == (category,)
            )
            tar.extractall(folder, members=wanted, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise InputError(f"{archive}: cannot be extracted ({error}); get it again") from error
    if not (folder / category).is_dir():
        raise InputError(
            f"{archive}: has no folder {category}; get the archive of this category or of all"
        )
    return folder / category


def _blank_png(size: tuple[int, int]) -> bytes:
    """An all-0 mask of `size` (width, height) as a PNG file."""
    file = io.BytesIO()
    Image.new("L", size).save(file, format="PNG")
    return file.getvalue()
