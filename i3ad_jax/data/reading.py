"""Settings of how files become labelled images: layout, labels, masks and bit depth."""

from dataclasses import dataclass
from typing import Literal

from i3ad_jax.data.decoder import FULL_DEPTH
from i3ad_jax.data.layouts import AUTO, check_layout
from i3ad_jax.settings import Settings, setting


@dataclass(frozen=True)
class ReadingSettings(Settings):
    """How the files of a data set are read."""

    layout: str = AUTO
    """Directory layout (default: detected): mvtec (train/good, test/CLASS,
    ground_truth/CLASS/*_mask.png); mvtec_loco, mvtec_ad_2, visa, btad, kolektor_sdd or
    kolektor_sdd2, as published (the folder of one category); flat (a folder of normal images); or
    manifest (a .csv or .parquet file with the columns path, split, label and mask)."""
    normal_class: tuple[str, ...] = ()
    """Classes of test images that are normal, beside good, ok, normal and pass in any case."""
    mask_values: Literal["auto", "soft", "inverted"] = "auto"
    """Numbers in a mask that are a defect. auto: of two the larger, of more every one that is not
    0 (in a JPEG those above the middle of their range). soft: from half of the full range.
    inverted: as auto, where defects are dark."""
    bit_depth: int = setting(FULL_DEPTH, minimum=8, maximum=FULL_DEPTH)
    """Bits that 16-bit images use, such as 12 for a camera of 12 bits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_layout(self.layout)


DEFAULT_READING = ReadingSettings()
