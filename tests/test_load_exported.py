"""The loader beside an exported program: images as the package reads them, checksums."""

import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.images import Aspect, preprocess, read_image
from i3ad_jax.errors import InputError
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


def test_the_loader_refuses_what_the_package_refuses(tmp_path: Path) -> None:
    pages = Image.fromarray(COLOUR)
    pages.save(tmp_path / "pages.tif", save_all=True, append_images=[pages])
    pages.save(tmp_path / "moving.webp", save_all=True, append_images=[pages.rotate(90)])
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.full((4, 4), 4096, np.uint16)).save(tmp_path / "deep.png")
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(InputError) as own:
            read_image(file, bit_depth=12)
        with pytest.raises(ValueError, match=re.escape(str(own.value))):
            load_exported.upright(file, bit_depth=12)


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(COLOUR[..., 0].astype(np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(ValueError, match=r"depth\.tif: .*floating-point numbers"):
        load_exported.read(tmp_path / "depth.tif", size=(32, 32), aspect="stretch")


@pytest.fixture(scope="module")
def exported(pca_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "out"
    export.main([str(pca_run), "--out", str(out)])
    return out


@pytest.mark.parametrize(
    "name", ["program.stablehlo", "export.json", "card.md", "load_exported.py", "i3ad_decoder.py"]
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
    "name", ["program.stablehlo", "export.json", "card.md", "load_exported.py", "i3ad_decoder.py"]
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


Loader = Callable[..., tuple[object, str, str]]


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Loader:
    """Runs an export's loader as a script; gives its exit code, output and errors."""

    def run(folder: Path, *arguments: object) -> tuple[object, str, str]:
        script = str(folder / "load_exported.py")
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        output, errors = capsys.readouterr()
        return code, output, errors

    return run


@pytest.fixture
def refused(loader: Loader) -> Callable[..., str]:
    """Gives the one line with which a loader refuses its input."""

    def run(folder: Path, *arguments: object) -> str:
        code, _, errors = loader(folder, *arguments)
        assert (code, errors.count("\n")) == (2, 1), errors
        assert errors.startswith("error: ")
        return errors.removeprefix("error: ").rstrip()

    return run


def test_help_and_wrong_arguments(
    exported: Path, loader: Loader, refused: Callable[..., str]
) -> None:
    code, output, _ = loader(exported, "--help")
    assert code == 0
    assert "PICTURE" in output
    assert "PICTURE" in refused(exported)
    assert "--size" in refused(exported, "--size", "3")


def test_folders_and_missing_pictures_are_one_line(
    exported: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    good = tmp_path / "good.png"
    Image.fromarray(COLOUR).save(good)
    assert refused(exported, good, tmp_path).startswith(f"{tmp_path}: a folder; ")
    missing = tmp_path / "missing.png"
    assert refused(exported, good, missing) == f"{missing}: not found; name a picture"


@pytest.mark.parametrize("kind", ["text", "empty", "half", "floating point"])
def test_files_that_are_not_pictures_are_one_line(
    exported: Path, tmp_path: Path, loader: Loader, kind: str
) -> None:
    good, file = tmp_path / "good.png", tmp_path / "bad.tif"
    Image.fromarray(COLOUR).save(good)
    if kind == "floating point":
        Image.fromarray(COLOUR[..., 0].astype(np.float32)).save(file)
    else:
        content = good.read_bytes()
        file.write_bytes({"text": b"text", "empty": b"", "half": content[:999]}[kind])
    code, output, errors = loader(exported, good, file, good)
    assert (code, errors.count("\n")) == (2, 1), errors
    assert errors.startswith(f"error: {file}: ")
    assert [json.loads(line)["path"] for line in output.splitlines()] == [str(good)]


@pytest.mark.parametrize("name", ["SHA256SUMS", "export.json", "program.stablehlo"])
@pytest.mark.parametrize("damage", ["missing", "half", "zeros"])
def test_damaged_exports_are_one_line(
    exported: Path, tmp_path: Path, refused: Callable[..., str], name: str, damage: str
) -> None:
    out = shutil.copytree(exported, tmp_path / "out")
    content = (out / name).read_bytes()
    (out / name).unlink()
    if damage != "missing":
        kept = content[: len(content) // 2]
        (out / name).write_bytes(kept if damage == "half" else bytes(len(content)))
    Image.fromarray(COLOUR).save(tmp_path / "good.png")
    error = refused(out, tmp_path / "good.png")
    assert error.startswith(f"{out}")
    assert error.endswith("; copy the whole export, or export it again")


def with_program(exported: Path, content: bytes, out: Path) -> Path:
    """A copy of an export with another program, all of its checksums right."""
    shutil.copytree(exported, out)
    program, about = out / "program.stablehlo", out / "export.json"
    old = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in (program, about)}
    program.write_bytes(content)
    new = {program: hashlib.sha256(content).hexdigest()}
    about.write_text(about.read_text().replace(old[program], new[program]))
    new[about] = hashlib.sha256(about.read_bytes()).hexdigest()
    sums = (out / "SHA256SUMS").read_text()
    for file, digest in old.items():
        sums = sums.replace(digest, new[file])
    (out / "SHA256SUMS").write_text(sums)
    return out


def test_a_program_that_jax_cannot_read_is_one_line(
    exported: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = with_program(exported, bytes(1000), tmp_path / "out")
    Image.fromarray(COLOUR).save(tmp_path / "good.png")
    error = refused(out, tmp_path / "good.png")
    assert error.startswith(f"{out}: ")
    assert error.endswith("; copy the whole export, or export it again")


def test_a_program_for_other_devices_is_one_line(
    exported: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8)
    program = jax.export.export(jax.jit(lambda x: x), platforms=("cuda", "tpu"))(images)
    out = with_program(exported, bytes(program.serialize()), tmp_path / "out")
    Image.fromarray(COLOUR).save(tmp_path / "good.png")
    assert refused(out, tmp_path / "good.png") == (
        f"{out}: JAX computes on cpu, and the program was exported for cuda and tpu;"
        " JAX_PLATFORMS=cuda in the environment chooses another device"
    )


def test_the_loader_says_on_what_it_computes(
    exported: Path, tmp_path: Path, loader: Loader
) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "good.png")
    code, output, errors = loader(exported, tmp_path / "good.png")
    assert (code, errors) == (0, "")
    assert json.loads(output)["device"] == jax.devices()[0].device_kind


def test_devices_that_jax_does_not_have_are_one_line(exported: Path, tmp_path: Path) -> None:
    code, errors = output_to(subprocess.DEVNULL, exported, tmp_path, JAX_PLATFORMS="nonsense")
    assert (code, errors.count("\n")) == (2, 1), errors
    assert errors.startswith(f"error: {exported}: JAX has no device to compute on (")
    assert errors.endswith("; JAX_PLATFORMS=cpu in the environment chooses another device\n")


def output_to(stdout: int, exported: Path, tmp_path: Path, **variables: str) -> tuple[int, str]:
    """Exit code and errors of a loader in a process of its own."""
    Image.fromarray(COLOUR).save(tmp_path / "good.png")
    command = [
        sys.executable,
        str(exported / "load_exported.py"),
        *[str(tmp_path / "good.png")] * 3,
    ]
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", **variables}
    done = subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment
    )
    return done.returncode, done.stderr


def test_a_reader_that_leaves_ends_the_loader_silently(exported: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert output_to(writing, exported, tmp_path) == (141, "")
    finally:
        os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="not a system with /dev/full")
def test_a_full_device_is_one_line(exported: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        code, errors = output_to(full.fileno(), exported, tmp_path)
    problem = "error: standard output: cannot be written to (No space left on device)\n"
    assert (code, errors) == (2, problem)
