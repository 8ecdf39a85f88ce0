"""Settings of how files become labelled images: layout, labels, masks and bit depth."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i3ad_jax.data.decoder import FULL_DEPTH
from i3ad_jax.data.layouts import AUTO, check_layout, find_layout
from i3ad_jax.data.layouts.layout import Layout
from i3ad_jax.data.layouts.normal_and_defective import NormalAndDefective, mask_values_hint
from i3ad_jax.settings import SettingError, Settings, setting


@dataclass(frozen=True)
class ReadingSettings(Settings):
    """Reading of the files of a data set."""

    layout: str = AUTO
    """Directory layout (default: detected). mvtec: train/good, test/CLASS,
    ground_truth/CLASS/*_mask.png. mvtec_loco, mvtec_ad_2, visa, btad, kolektor_sdd, kolektor_sdd2:
    the folder of one category, as published. folders: good beside bad; a fifth of the normal images
    is tested on. flat: a folder of normal images. manifest: a .csv or .parquet file with the
    columns path, split, label and mask."""
    normal: str | None = None
    """Folder of normal images of the layout folders, below --data; without --data from the working
    directory."""
    anomalous: str | None = None
    """Folder of defective images beside --normal, with a folder for each class or none; . for all
    other folders below --data."""
    masks: str | None = None
    """Folder of masks beside --normal, named as the images."""
    normal_class: tuple[str, ...] = ()
    """Names of folders or labels of normal images, beside good, ok, normal and pass in any
    case."""
    mask_values: Literal["auto", "soft", "inverted"] = "auto"
    """Numbers in a mask that are a defect. auto: of two the larger, of more every one that is not
    0; in a JPEG those above the middle of their range. soft: from half of the full range.
    inverted: as auto, where defects are dark."""
    bit_depth: int = setting(FULL_DEPTH, minimum=8, maximum=FULL_DEPTH)
    """Bits that 16-bit images use, such as 12 for a camera of 12 bits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_layout(self.layout)
        if self.normal is None:
            for name, folder in self.folders().items():
                hint = mask_values_hint(folder) if name == "masks" else None
                problem = hint or "needs --normal, the folder of normal images"
                raise SettingError(name, folder, problem)
        elif self.layout not in (AUTO, "folders"):
            problem = f"--layout {self.layout} has folders of its own; leave one of them out"
            raise SettingError("normal", self.normal, problem)

    def folders(self) -> dict[str, str]:
        """Return the folders that options name, by option."""
        named = {"normal": self.normal, "anomalous": self.anomalous, "masks": self.masks}
        return {name: folder for name, folder in named.items() if folder is not None}

    def layout_of(self, root: Path) -> Layout:
        """Return the layout of a data set.

        Args:
            root: a folder or file that exists.

        Raises:
            InputError: as for `find_layout`.
        """
        if self.normal is None:
            return find_layout(root, name=self.layout, normal=self.normal_class)
        find_layout(root, name="folders")  # refuses a file
        return NormalAndDefective(self.normal, self.anomalous, self.masks, self.normal_class)


DEFAULT_READING = ReadingSettings()
