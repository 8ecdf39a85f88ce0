"""`python -m i3ad_jax.pack`: decode a data set once, for trainings that read it on demand."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import tyro

from i3ad_jax import command_line
from i3ad_jax.config import DEFAULT_PRESET, Config, default_config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Aspect, Size
from i3ad_jax.data.load import bytes_of
from i3ad_jax.data.packed import PackWriter
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.plan import resolve
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.settings import Settings

PROGRAM = "python -m i3ad_jax.pack"
SHOWN = (
    *("out", "preset", "method", "layout", "image_size", "view"),
    *("resolution", "tile", "image_memory"),
)
"""Options that --help shows."""


@dataclass(frozen=True)
class SizeFlags:
    """Settings of the training that its sizes depend on; None is the default of its preset."""

    aspect: Aspect | None = None
    """Treatment of images of other proportions, as for train."""
    image_size: int | None = None
    """Side in pixels of whole images, as for train."""
    view: Literal["auto", "whole", "tiles"] | None = None
    """Whole images or tiles of them, as for train."""
    resolution: int | None = None
    """Working resolution of images that are cut into tiles or segmented, as for train."""
    tile: int | None = None
    """Side in pixels of a tile, as for train."""
    segmenter_width: int | None = None
    """Width of the segmentation network, as for train; 0 for a training without it."""
    segmenter_depth: int | None = None
    """Depth of the segmentation network, as for train."""
    segmenter_side: int | None = None
    """Side in pixels of its training squares, as for train."""
    segmenter_levels: int | None = None
    """Number of image sizes that it sees, as for train."""


@dataclass(frozen=True)
class Flags:
    """Decode every image of a data set once, and write all to OUT at the sizes of a training.

    Then train with --data OUT and the same options: images are read from there as they are needed,
    and need not fit in memory. Other options of the training do not change the sizes.
    """

    data: tyro.conf.Positional[str]
    """Data set in any form that train takes."""
    out: Path
    """Folder to write to."""
    preset: str = DEFAULT_PRESET
    """Preset of the training, which decides sizes that are not given."""
    method: str = "i3ad"
    """Method of the training."""
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    sizes: SizeFlags = field(default_factory=SizeFlags)
    image_memory: float | None = None
    """GiB that the images of a split may take in memory; by default half of what is free. More of
    them wait in a temporary file, in the folder that TMPDIR names."""


def pack(config: Config[Settings, Settings], out: Path, *, memory: int | None = None) -> list[Size]:
    """Packs the data set of a training's settings into a folder, in the sizes that it would read.

    Args:
        config: the settings.
        out: the folder.
        memory: as for `load_dataset`.

    Returns:
        The sizes: height and width.

    Raises:
        InputError: the data cannot be read, the folder cannot be written to, or another command
            works there.
    """
    sizes, name = [], ""

    def read(size: Size) -> Split:
        nonlocal name
        found = config.data.load(size=size, memory=memory, progress=True)
        writer.add(found)
        sizes.append(size)
        name = found.name
        return found.train

    with RunFolder(out).lock(), RunFolder(out).writing():
        writer = PackWriter(out)
        resolve(config, read)
        depth = config.data.reading.bit_depth
        writer.finish(name, aspect=config.data.aspect, bit_depth=depth)
    return sizes


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, packs, prints where the data is."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM, shown=SHOWN)
    config = default_config(flags.method, preset=flags.preset).with_settings(
        {name: value for name, value in vars(flags.sizes).items() if value is not None}
        | flags.reading.flat()
        | {"data": flags.data}
    )
    config = replace(config, data=config.data.absolute())
    sizes = pack(config, flags.out, memory=bytes_of(flags.image_memory))
    print(
        f"packed at {' and '.join(f'{height} x {width}' for height, width in sizes)} pixels:"
        f" {flags.out}"
    )


if __name__ == "__main__":
    command_line.run(main)
