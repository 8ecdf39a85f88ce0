"""The simplest layout: a folder of normal images to learn from, and nothing to test on."""

from pathlib import Path

from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.data.layouts.layout import Layout, Listing
from i3ad_jax.data.samples import Sample
from i3ad_jax.data.search import list_folder


class Flat(Layout):
    """Images directly in a folder; folders in it are ignored."""

    signs = ("images, and no folders",)

    def matches(self, root: Path) -> bool:
        """See `Layout`."""
        if not root.is_dir():
            return False
        images, folders, _ = list_folder(root)
        return bool(images) and not folders

    def lacks(self, root: Path) -> str | None:
        """See `Layout`."""
        if not list_folder(root).images:
            return None
        return "it has folders beside the images; give --layout flat to train on its images alone"

    def list_samples(self, root: Path) -> Listing:
        """See `Layout`."""
        images = list_folder(root).images
        return Listing([Sample(image.name, NORMAL, image) for image in images], [])
