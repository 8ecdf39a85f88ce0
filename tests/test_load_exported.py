"""The loader beside an exported program: images as the package reads them, checksums."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.images import Aspect, preprocess, read_image
from i3ad_jax.export import __main__ as export
from i3ad_jax.export import load_exported

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (45, 31, 3)).astype(np.uint8)


def rgba() -> Image.Image:
    return Image.fromarray(np.concatenate([COLOUR, COLOUR[..., :1]], axis=-1))


def palette() -> Image.Image:
    picture = Image.fromarray(COLOUR).convert("P")
    picture.info["transparency"] = 3
    return picture


PICTURES: dict[str, tuple[str, Callable[[], Image.Image]]] = {
    "colour": ("png", lambda: Image.fromarray(COLOUR)),
    "wide": ("bmp", lambda: Image.fromarray(COLOUR.swapaxes(0, 1))),
    "photograph": ("jpg", lambda: Image.fromarray(np.kron(COLOUR, np.ones((4, 5, 1), np.uint8)))),
    "alpha": ("png", rgba),
    "palette": ("png", palette),
    "one bit": ("png", lambda: Image.fromarray(COLOUR[..., 0] > 127)),
    "16 bits": ("tif", lambda: Image.fromarray(RNG.integers(0, 2**16, (20, 57), dtype=np.uint16))),
}


@pytest.mark.parametrize("aspect", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_are_read_and_resized_as_by_the_package(
    tmp_path: Path, kind: str, aspect: Aspect
) -> None:
    suffix, make = PICTURES[kind]
    file = tmp_path / f"picture.{suffix}"
    make().save(file)
    for size in ((32, 32), (24, 48)):
        found = load_exported.read(file, size=size, aspect=aspect)
        np.testing.assert_array_equal(found, preprocess(read_image(file), size=size, aspect=aspect))


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(COLOUR).save(tmp_path / "turned.png", exif=exif)
    found = load_exported.read(tmp_path / "turned.png", size=(31, 45), aspect="stretch")
    np.testing.assert_array_equal(found, np.rot90(COLOUR, -1))


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(COLOUR[..., 0].astype(np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(ValueError, match=r"depth\.tif: floating-point pixels"):
        load_exported.read(tmp_path / "depth.tif", size=(32, 32), aspect="stretch")


@pytest.fixture(scope="module")
def exported(pca_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "out"
    export.main([str(pca_run), "--out", str(out)])
    return out


@pytest.mark.parametrize(
    "name", ["program.stablehlo", "export.json", "card.md", "load_exported.py"]
)
def test_another_file_in_place_of_one_of_the_export_is_refused(
    exported: Path, tmp_path: Path, name: str
) -> None:
    out = shutil.copytree(exported, tmp_path / "out")
    content = bytearray((out / name).read_bytes())
    content[len(content) // 2] ^= 1
    (out / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is not the file"):
        load_exported.load(out)


@pytest.mark.parametrize(
    "name", ["program.stablehlo", "export.json", "card.md", "load_exported.py"]
)
def test_sums_that_lack_a_file_do_not_let_another_one_pass(
    exported: Path, tmp_path: Path, name: str
) -> None:
    out = shutil.copytree(exported, tmp_path / "out")
    lines = (out / "SHA256SUMS").read_text().splitlines(keepends=True)
    (out / "SHA256SUMS").write_text(
        "".join(line for line in lines if not line.endswith(f"  {name}\n"))
    )
    (out / name).write_bytes((out / name).read_bytes() + b"\n")
    with pytest.raises(ValueError, match=rf"{name} is not the file"):
        load_exported.load(out)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="not a system with sha256sum")
def test_the_sums_are_those_of_sha256sum(exported: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=exported)
    assert done.returncode == 0
    assert len((exported / "SHA256SUMS").read_text().splitlines()) == len([*exported.iterdir()]) - 1
