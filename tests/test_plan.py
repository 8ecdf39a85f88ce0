"""Plans of trainings from normal images: the view that suits them, and the calibration set."""

import ast
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import i3ad_jax
from i3ad_jax import InputError
from i3ad_jax.config import Config, default_config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Size, preprocess
from i3ad_jax.data.textures import make_textures
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.plan import choose_sizes, choose_view, resolve
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.preprocessing.units import Units
from i3ad_jax.settings import SettingError

SIZE = (96, 128)
RNG = np.random.default_rng(0)


def objects() -> list[Image.Image]:
    """Pictures of one object, always at the same place, and noise."""
    picture = RNG.integers(40, 200, (12, 16, 3)).repeat(8, axis=0).repeat(8, axis=1)
    noise = RNG.integers(0, 20, (12, *SIZE, 3))
    return [Image.fromarray(image) for image in (picture + noise).astype(np.uint8)]


def surfaces() -> list[Image.Image]:
    return [Image.fromarray(image) for image in make_textures("weave", size=SIZE).train.images[:12]]


PICTURES = {"objects": objects(), "surfaces": surfaces()}


class Source:
    """Reads images in a working size, as a dataset does, and records the requested sizes."""

    def __init__(self, pictures: list[Image.Image]) -> None:
        self.pictures, self.sizes = pictures, list[Size]()

    def __call__(self, size: Size) -> Split:
        self.sizes.append(size)
        images = [preprocess(picture, size=size, aspect="stretch") for picture in self.pictures]
        split = Split.of_normal_images(np.stack(images))
        return replace(split, original_sizes=tuple(x.size[::-1] for x in self.pictures))


def config(**settings: Any) -> Config[Any, Any]:
    small = {"image_size": 32, "tile": 16, "resolution": 55, "held_out": 0.25}
    return default_config("pca").with_settings(small | settings)


@pytest.mark.parametrize(("kind", "view"), [("objects", "whole"), ("surfaces", "tiles")])
def test_view_follows_the_images(kind: str, view: str) -> None:
    source = Source(PICTURES[kind])
    prepared = resolve(config(), source)
    plan = prepared.plan
    assert plan.asked == config()
    assert plan.choices["view"].value == view
    assert plan.config.preprocessing.view == view
    assert "auto" not in plan.config.preprocessing.flat().values()
    assert plan.preprocessing.aligned == (view == "whole")
    # in the pictures' proportions
    sizes = {"whole": [(32, 32)], "tiles": [(32, 32), (48, 64)]}[view]
    assert source.sizes == sizes
    assert prepared.plan.preprocessing.size == sizes[-1]
    assert prepared.plan.preprocessing.side == {"whole": 32, "tiles": 16}[view]
    for part in (prepared.images, prepared.held_out):
        assert part.images.shape[1:3] == sizes[-1]


@pytest.mark.parametrize(
    ("kind", "side", "view"),
    [
        ("edges", 100, "whole"),
        ("edges", 1000, "whole"),
        ("shading", 100, "whole"),
        ("shading", 1000, "tiles"),
        ("noise", 100, "tiles"),
        ("noise", 1000, "tiles"),
    ],
)
def test_large_images_stay_whole_only_if_they_are_alike_in_detail(
    kind: str, side: int, view: str
) -> None:
    common = {
        "edges": 80.0 * (np.indices((64, 64)).sum(axis=0) // 9 % 2),
        "shading": np.linspace(0, 80, 64)[:, None],
        "noise": 0.0,
    }[kind]
    images = RNG.normal(80, 10, (20, 64, 64, 3)) + np.broadcast_to(common, (64, 64))[..., None]
    small = Preprocessing.learn(*np.split(images.clip(0, 255).astype(np.uint8), [12]), side=64)
    assert choose_view(config(), small, [(side, side)]).value == view


@pytest.mark.parametrize("view", ["whole", "tiles"])
@pytest.mark.parametrize(
    ("size", "settings", "working", "levels"),
    [
        ((1000, 1000), {}, (320, 320), 3),
        ((300, 300), {}, (320, 320), 3),
        ((256, 256), {}, (256, 256), 3),
        ((128, 128), {}, (128, 128), 2),
        ((96, 96), {}, (128, 128), 1),
        ((64, 64), {}, (64, 64), 1),
        ((20, 30), {}, (64, 64), 1),
        ((600, 1200), {}, (256, 448), 2),
        ((100, 3000), {}, (64, 1600), 1),
        ((1000, 1000), {"resolution": 512}, (512, 512), 3),
        ((1000, 1000), {"resolution": 512, "segmenter_levels": 5}, (512, 512), 4),
        ((1000, 1000), {"resolution": 512, "segmenter_levels": 1}, (512, 512), 1),
        ((1000, 1000), {"resolution": 200}, (192, 192), 2),
        ((1000, 1000), {"resolution": 200, "segmenter_side": 32}, (192, 192), 3),
    ],
)
def test_details_are_seen_at_the_working_size_and_smaller_ones(
    view: str, size: Size, settings: dict[str, Any], working: Size, levels: int
) -> None:
    found = choose_sizes(default_config("i3ad").with_settings(settings), view, [size])
    assert found.side == 64
    assert found.levels == levels
    if view == "whole":
        assert found.working == working
    else:  # in multiples of 16 at the coarsest level, not of 64
        unit = 16 << (levels - 1)
        for length, other in zip(found.working, working, strict=True):
            assert length % unit == 0
            assert abs(length - other) <= 32


@pytest.mark.parametrize("view", ["whole", "tiles"])
@pytest.mark.parametrize("image_size", [32, 40, 48, 56, 64, 96, 136])
@pytest.mark.parametrize(("segmenter_side", "depth"), [(16, 2), (32, 5), (64, 4), (96, 3)])
def test_every_level_has_room_for_a_square_and_suits_the_networks(
    view: str, image_size: int, segmenter_side: int, depth: int
) -> None:
    settings = {
        "image_size": image_size,
        "tile": image_size,
        "segmenter_side": segmenter_side,
        "segmenter_depth": depth,
    }
    asked = default_config("i3ad").with_settings(settings)
    for height in range(30, 700, 31):
        for width in (height, 3 * height):
            found = choose_sizes(asked, view, [(height, width)])
            assert 1 <= found.levels <= 3
            for length in found.working:
                assert length >= image_size
                assert view == "tiles" or length % image_size == 0
                coarsest, rest = divmod(length, 2 ** (found.levels - 1))
                assert rest == 0
                assert coarsest >= segmenter_side
                assert coarsest % 2**depth == 0


def test_methods_without_details_see_images_as_before() -> None:
    for asked in (config(), default_config("i3ad", preset="paper")):
        side = asked.data.image_size
        whole = (side, side)
        assert choose_sizes(asked, "whole", [(600, 800)]) == (whole, whole, side, 0)
    assert choose_sizes(config(), "tiles", [(600, 800)]) == ((48, 64), (48, 64), 16, 0)


def test_tiles_are_cut_from_half_the_size_where_details_are_seen() -> None:
    asked = default_config("i3ad")
    found = choose_sizes(asked, "tiles", [(600, 800)])
    assert (found.working, found.seen) == ((256, 384), (128, 192))
    small = choose_sizes(asked, "tiles", [(100, 100)])
    assert small.seen == small.working == (96, 96)


def test_shading_alone_makes_tiles_only_where_nothing_sees_details() -> None:
    shading = np.linspace(0, 80, 64)[:, None, None]
    images = (RNG.normal(80, 10, (20, 64, 64, 3)) + shading).clip(0, 255).astype(np.uint8)
    small = Preprocessing.learn(*np.split(images, [12]), side=64)
    for asked, view in ((config(), "tiles"), (default_config("i3ad"), "whole")):
        assert choose_view(asked, small, [(1000, 1000)]).value == view


def test_whole_images_are_read_again_where_details_are_seen() -> None:
    source = Source(PICTURES["objects"])
    small = {"image_size": 32, "view": "whole", "segmenter_side": 32}
    prepared = resolve(default_config("i3ad").with_settings(small), source)
    found = prepared.plan.preprocessing
    assert source.sizes == [(32, 32), (96, 128)]
    assert (found.size, found.side, found.whole, found.levels) == ((96, 128), 32, True, 2)
    assert found.level_sizes == [(96, 128), (48, 64)]
    assert prepared.images.images.shape[1:3] == prepared.held_out.images.shape[1:3] == (96, 128)
    expected = Units.of(
        prepared.images.images[:], level=found.units.level is not None, centre="image"
    )
    np.testing.assert_array_equal(found.units.mean_image, expected.mean_image)


@pytest.mark.parametrize(("kind", "view"), [("objects", "tiles"), ("surfaces", "whole")])
def test_view_that_was_asked_for_is_taken(kind: str, view: str) -> None:
    prepared = resolve(config(view=view), Source(PICTURES[kind]))
    assert prepared.plan.choices["view"] == (view, f"--view {view}")
    assert prepared.plan.preprocessing.side == {"whole": 32, "tiles": 16}[view]


@pytest.mark.parametrize(
    ("kind", "view", "generator"),
    [
        ("objects", "auto", "context"),
        ("surfaces", "auto", "two_stage"),
        ("objects", "tiles", "two_stage"),
    ],
)
def test_generator_draws_what_whole_images_have_in_common(
    kind: str, view: str, generator: str
) -> None:
    small = {"image_size": 32, "tile": 32, "resolution": 55, "segmenter_depth": 2, "view": view}
    auto = default_config("i3ad").with_settings(small)
    prepared = resolve(auto, Source(PICTURES[kind]))
    assert prepared.plan.config.training.generator == generator
    given = resolve(auto.with_settings({"generator": "context"}), Source(PICTURES[kind]))
    assert given.plan.config.training.generator == "context"


def test_tiles_of_the_size_that_was_read_are_not_read_again() -> None:
    source = Source([picture.resize((96, 96)) for picture in PICTURES["surfaces"]])
    prepared = resolve(config(view="tiles", resolution=32), source)
    assert source.sizes == [(32, 32)]
    assert prepared.plan.preprocessing.size == (32, 32)


@pytest.mark.parametrize("view", ["whole", "tiles"])
def test_held_out_images_are_those_that_the_files_say(view: str) -> None:
    source = Source(PICTURES["surfaces"])
    prepared = resolve(config(view=view, seed=3), source)
    train = source(prepared.plan.preprocessing.size)
    assert prepared.plan.files == TrainingFiles.choose(train, fraction=0.25, seed=3)
    # What is read in the working size is what was recorded, or the run could not be continued.
    for part, expected in zip(
        (prepared.images, prepared.held_out), prepared.plan.files.select(train), strict=True
    ):
        assert part.paths == expected.paths
        np.testing.assert_array_equal(part.images, expected.images)
    assert (len(prepared.images), len(prepared.held_out)) == (9, 3)


def test_division_does_not_depend_on_the_view() -> None:
    whole, tiles = (
        resolve(config(view=view), Source(PICTURES["surfaces"])) for view in ("whole", "tiles")
    )
    assert whole.held_out.paths == tiles.held_out.paths


@pytest.mark.parametrize("view", ["whole", "tiles"])
@pytest.mark.parametrize("levelling", ["yes", "no"])
def test_units_are_those_of_the_images_trained_on(view: str, levelling: str) -> None:
    settings = config(view=view, levelling=levelling, centre="image")
    prepared = resolve(settings, Source(PICTURES["surfaces"]))
    expected = Units.of(prepared.images.images[:], level=levelling == "yes", centre="image")
    found = prepared.plan.preprocessing.units
    assert (found.level, found.subtract, found.scale) == (expected.level, "image", expected.scale)
    np.testing.assert_array_equal(found.mean_image, expected.mean_image)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2 are needed"):
        resolve(config(), Source(PICTURES["objects"][:1]))


def test_textures_that_are_drawn_anew_for_each_size() -> None:
    # They never were files: what is recorded of them is their pixels, other ones at another size.
    @cache
    def read(size: Size) -> Split:
        return make_textures("mesh", size=size).train

    prepared = resolve(config(resolution=48), read)
    assert prepared.plan.preprocessing.size == (48, 48)
    images, held_out = prepared.plan.files.select(read((48, 48)))
    np.testing.assert_array_equal(prepared.images.images, images.images)
    np.testing.assert_array_equal(prepared.held_out.images, held_out.images)


def test_what_a_plan_says_of_itself() -> None:
    small = {"image_size": 32, "tile": 32, "segmenter_depth": 2, "segmenter_side": 32}
    plan = resolve(default_config("i3ad").with_settings(small), Source(PICTURES["objects"])).plan
    seen, generator, units, details, images = plan.describe()
    assert seen.startswith("whole images of 32 x 32 pixels, because the mean image explains ")
    assert generator.startswith("context encoder, because the mean image explains ")
    assert "mean image subtracted" in units
    assert details == "details at 96 x 128, 48 x 64 pixels, by the segmentation network"
    assert images == "10 images train i3ad, 2 calibrate"
    plan = resolve(config(levelling="yes"), Source(PICTURES["surfaces"])).plan
    seen, units, images = plan.describe()
    assert seen.startswith("tiles of 16 x 16 pixels, from images of 48 x 64, because ")
    assert units.startswith("brightness normalised (--levelling yes)")


def test_plan_that_exceeds_memory_is_refused_before_images_are_read() -> None:
    source = Source(PICTURES["surfaces"])
    huge = {"image_size": 32, "tile": 9600, "batch_size": 65_536}
    with pytest.raises(InputError, match=r"^--tile 9600 or --batch-size 65536.*GiB of memory"):
        resolve(default_config("l2_ae").with_settings(huge), source)
    assert source.sizes == []


def test_weights_that_do_not_fit_in_memory_are_refused() -> None:
    large = {"image_size": 32, "view": "whole", "width": 1024, "latent_size": 65_536}
    with pytest.raises(InputError, match=r"^--image-size 32 or --width 1024 .*GiB of memory"):
        resolve(default_config("l2_ae").with_settings(large), Source(PICTURES["objects"]))


@pytest.mark.parametrize("name", ["view", "generator"])
def test_no_method_is_built_of_automatic_settings(name: str) -> None:
    known = {"view": "whole", "generator": "context"}
    asked = default_config("i3ad").with_settings(known | {name: "auto"})
    with pytest.raises(SettingError, match=f"^--{name} auto: "):
        asked.build()


def callers(matches: Callable[[ast.expr], bool]) -> set[str]:
    """Modules of the package that call what matches."""
    package = Path(i3ad_jax.__file__).parent
    return {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and matches(node.func)
    }


def test_settings_are_resolved_in_one_place_for_each_command() -> None:
    resolving = callers(lambda called: isinstance(called, ast.Name) and called.id == "resolve")
    assert resolving == {"train/session.py", "detector.py", "pack/__main__.py"}  # train, fit, pack
    building = callers(lambda called: isinstance(called, ast.Attribute) and called.attr == "build")
    # check: its images are thumbnails; batch_memory: a resolved plan with smaller batches
    assert building == {"plan.py", "check/cost.py", "training/batch_memory.py"}
