"""Reading of image files and masks, pre-processing, and the way back for maps."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from i3ad_jax.data.images import (
    preprocess,
    preprocess_mask,
    read_bytes,
    read_image,
    restore_map,
    working_size,
)
from i3ad_jax.data.inputs import Broken, as_pictures, try_pictures
from i3ad_jax.data.masks import read_mask
from i3ad_jax.errors import InputError

ASPECTS = ("stretch", "pad", "crop")
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8)
GREY = RGB[..., 0]
GREY_AS_RGB = np.repeat(GREY[..., None], 3, axis=-1)
LOSSLESS = ("png", "tif", "tiff", "bmp")


def to_bytes(image: Image.Image, format_: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format_, **options)
    return file.getvalue()


def assert_refused(source, *words: str, read=read_image, name: str | None = None) -> None:
    with pytest.raises(InputError) as caught:
        read(source, name=name)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(name or str(source))
    for word in words:
        assert word in message


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize(("pixels", "expected"), [(RGB, RGB), (GREY, GREY_AS_RGB)])
def test_lossless_files_give_their_pixels(tmp_path, suffix, pixels, expected):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(pixels).save(path)
    image = read_image(path)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), expected)


def test_jpeg_gives_what_pillow_decodes(tmp_path):
    path = tmp_path / "x.jpg"
    Image.fromarray(GREY).save(path)
    decoded = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.stack([decoded] * 3, axis=-1))


def test_bytes_and_their_file_are_the_same(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path)
    assert read_image(path.read_bytes(), name="x") == read_image(path)


def test_alpha_is_ignored():
    alpha = RNG.integers(0, 256, (9, 7, 1)).astype(np.uint8)
    rgba = to_bytes(Image.fromarray(np.concatenate([RGB, alpha], axis=-1)), "PNG")
    la = to_bytes(
        Image.fromarray(np.concatenate([GREY[..., None], alpha], axis=-1), mode="LA"), "PNG"
    )
    np.testing.assert_array_equal(np.asarray(read_image(rgba, name="x")), RGB)
    np.testing.assert_array_equal(np.asarray(read_image(la, name="x")), GREY_AS_RGB)


@pytest.mark.parametrize("options", [{}, {"transparency": bytes(range(256))}])
def test_palette_colours_are_looked_up(options):
    palette = Image.fromarray(RGB).quantize(64)
    expected = np.array(palette.getpalette()).reshape(-1, 3)[np.asarray(palette)]
    image = read_image(to_bytes(palette, "PNG", **options), name="x")
    np.testing.assert_array_equal(np.asarray(image), expected)


def test_one_bit_becomes_black_and_white():
    bits = GREY > 127
    image = read_image(to_bytes(Image.fromarray(bits), "PNG"), name="x")
    np.testing.assert_array_equal(np.asarray(image)[..., 1], np.where(bits, 255, 0))


@pytest.mark.parametrize(
    ("dtype", "format_"), [("<u2", "PNG"), ("<u2", "TIFF"), (">u2", "TIFF"), ("<i4", "TIFF")]
)
def test_16_bit_grey_is_scaled_linearly_from_its_full_range(dtype, format_):
    values = np.arange(65536).reshape(256, 256)
    image = read_image(to_bytes(Image.fromarray(values.astype(dtype)), format_), name="x")
    np.testing.assert_array_equal(np.asarray(image)[..., 2], np.rint(values / 257))


@pytest.mark.parametrize("value", [-1, 65536])
def test_grey_beyond_16_bits_is_refused(value):
    data = to_bytes(Image.fromarray(np.full((2, 2), value, np.int32)), "TIFF")
    assert_refused(data, "16 bits", name="x.tif")


def test_floating_point_is_refused():
    assert_refused(
        to_bytes(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "floating", name="x.tif"
    )


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation_is_applied(format_, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb = to_bytes(Image.fromarray(RGB), format_, exif=exif)
    grey16 = to_bytes(Image.fromarray(GREY.astype(np.uint16) * 257), format_, exif=exif)
    mask = to_bytes(Image.fromarray(GREY), format_, exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(rgb, name="x")), upright(RGB))
    np.testing.assert_array_equal(np.asarray(read_image(grey16, name="x"))[..., 0], upright(GREY))
    soft = read_mask(mask, name="x", values="soft")
    np.testing.assert_array_equal(soft, upright(GREY >= 128))


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "not a PNG"),
        (b"no image at all", "not a PNG"),
        (to_bytes(Image.fromarray(RGB), "GIF"), "not a PNG"),
        (to_bytes(Image.fromarray(RGB), "PNG")[:-40], "truncated"),
        (to_bytes(Image.fromarray(RGB), "JPEG")[:-40], "truncated"),
        (to_bytes(Image.fromarray(RGB), "BMP")[:-40], "truncated"),
    ],
)
def test_damaged_and_foreign_files_are_refused_by_name(tmp_path, read, data, word):
    path = tmp_path / "x.png"
    path.write_bytes(data)
    assert_refused(path, word, read=read)


@pytest.mark.parametrize("read", [read_image, read_mask, read_bytes])
def test_missing_files_and_folders_are_refused_by_name(tmp_path, read):
    assert_refused(tmp_path / "x.png", "No such file", read=read)
    assert_refused(tmp_path, "directory", read=read)
    assert_refused(tmp_path / "x.png", "No such file", read=read, name="the picture")


def png_header(width: int, height: int) -> bytes:
    """A PNG file that promises pixels and holds none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [struct.pack(">I", 13), header, struct.pack(">I", zlib.crc32(header))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + struct.pack(">I", 1) + b"IDAT"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 10_001), (20_000, 20_000), (1, 2**31 - 1)])
def test_absurdly_large_images_are_refused_before_decoding(size):
    assert_refused(png_header(*size), "100,000,000 pixels", name="x.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_100_million_pixels_are_not_too_many():
    assert_refused(png_header(10_000, 10_000), "cannot be read", name="x.png")


@pytest.mark.filterwarnings("error")
def test_a_large_image_is_refused_where_warnings_are_errors():
    assert_refused(png_header(10_000, 10_001), "100,000,000 pixels", name="x.png")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(["PNG", "JPEG", "BMP", "TIFF"]), st.data())
def test_any_damage_gives_an_image_or_one_line(format_, data):
    content = bytearray(to_bytes(Image.fromarray(RGB), format_))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        outcome = read_image(bytes(content), name="x").mode
    except InputError as error:
        outcome = str(error)
    assert outcome == "RGB" or (outcome.startswith("x: ") and "\n" not in outcome)


MASK = GREY > 90


@pytest.mark.parametrize(
    "pixels",
    [
        MASK,
        np.where(MASK, 255, 0).astype(np.uint8),
        np.where(MASK, 128, 127).astype(np.uint8),
        np.where(MASK, 1, 0).astype(np.uint8),
        np.where(MASK, 3, 0).astype(np.uint8),
        np.where(MASK, 65535, 0).astype(np.uint16),
        np.where(MASK, 255, 0).astype(np.uint16),
        np.where(MASK, 1, 0).astype(np.int32),
        np.where(MASK[..., None], (0, 0, 200), (0, 0, 0)).astype(np.uint8),
    ],
)
def test_masks_of_every_coding_are_the_same(pixels):
    np.testing.assert_array_equal(
        read_mask(to_bytes(Image.fromarray(pixels), "TIFF"), name="x"), MASK
    )


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_an_empty_mask_is_empty(dtype):
    assert not read_mask(to_bytes(Image.fromarray(np.zeros((3, 4), dtype)), "PNG"), name="x").any()


sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("size", [(7, 7), (9, 7), (5, 7)])
def test_a_picture_of_the_working_size_stays_as_it_is(aspect, size):
    pixels, mask = RGB[: size[0]], RNG.random(size) < 0.5
    np.testing.assert_array_equal(
        preprocess(Image.fromarray(pixels), size=size, aspect=aspect), pixels
    )
    np.testing.assert_array_equal(preprocess_mask(mask, size=size, aspect=aspect), mask)
    map_ = pixels[..., 0].astype(np.float32)
    np.testing.assert_array_equal(restore_map(map_, original_size=size, aspect=aspect), map_)


@given(sizes, sizes, st.sampled_from(ASPECTS))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_one_colour_stays_that_colour_at_any_size(original_size, size, aspect):
    image = preprocess(
        Image.new("RGB", original_size[::-1], (3, 141, 255)), size=size, aspect=aspect
    )
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert (image == (3, 141, 255)).all()
    map_ = np.full(size, 0.25, np.float32)
    np.testing.assert_array_equal(
        restore_map(map_, original_size=original_size, aspect=aspect), np.full(original_size, 0.25)
    )


def test_resizing_is_anti_aliased_bilinear():
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).convert("RGB")
    small = preprocess(ramp, size=(64, 64), aspect="stretch")[5, :, 0]
    centres = 4 * np.arange(64) + 1.5  # A straight line keeps its values at the pixels' centres ...
    assert np.abs(small[1:-1] - centres[1:-1]).max() <= 0.5
    stripes = Image.fromarray(np.tile(np.array([0, 200], np.uint8), (64, 32))).convert("RGB")
    grey = preprocess(stripes, size=(8, 8), aspect="stretch")[:, 1:-1]
    # ... and what is too fine to show is averaged.
    assert np.abs(grey.astype(int) - 100).max() <= 1


def test_pad_keeps_proportions_and_repeats_the_border():
    wide = RNG.integers(0, 256, (8, 16, 3)).astype(np.uint8)
    padded = preprocess(Image.fromarray(wide), size=(16, 16), aspect="pad")
    np.testing.assert_array_equal(padded[4:12], wide)
    np.testing.assert_array_equal(padded[:4], np.repeat(wide[:1], 4, axis=0))
    np.testing.assert_array_equal(padded[12:], np.repeat(wide[-1:], 4, axis=0))
    tall = preprocess(Image.fromarray(wide.swapaxes(0, 1)), size=(16, 16), aspect="pad")
    np.testing.assert_array_equal(tall, padded.swapaxes(0, 1))


@pytest.mark.parametrize(
    ("size", "margins"), [((12, 16), (2, 0)), ((8, 20), (0, 2)), ((16, 16), (4, 0))]
)
def test_pad_fits_the_whole_picture_into_a_rectangle(size, margins):
    wide = RNG.integers(0, 256, (8, 16, 3)).astype(np.uint8)
    (vertical, horizontal) = margins
    padded = np.pad(wide, ((vertical, vertical), (horizontal, horizontal), (0, 0)), mode="edge")
    np.testing.assert_array_equal(
        preprocess(Image.fromarray(wide), size=size, aspect="pad"), padded
    )


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((9, 9), slice(None), slice(6, 26)),
        ((10, 15), slice(None), slice(1, 31)),  # 2:3 of the whole height
        ((4, 11), slice(4, 16), slice(None)),  # 4:11 of the whole width
        ((40, 20), slice(None), slice(11, 21)),
    ],
)
def test_crop_is_stretch_of_the_largest_central_part_in_proportion(size, rows, columns):
    wide = RNG.integers(0, 256, (20, 33, 3)).astype(np.uint8)
    cropped = preprocess(Image.fromarray(wide), size=size, aspect="crop")
    centre = Image.fromarray(wide[rows, columns])
    np.testing.assert_array_equal(cropped, preprocess(centre, size=size, aspect="stretch"))


def test_a_mask_pixel_is_defective_where_half_of_its_area_is():
    mask = RNG.random((32, 48)) < 0.5
    share = mask.reshape(8, 4, 8, 6).mean(axis=(1, 3))
    small = preprocess_mask(mask, size=(8, 8), aspect="stretch")
    clear = np.abs(share - 0.5) > 1e-6  # Sixths are not exact in binary: leave ties out.
    assert clear.sum() > 40
    np.testing.assert_array_equal(small[clear], (share >= 0.5)[clear])
    half = np.repeat([True, False, True, False], 2)[None].repeat(8, axis=0)
    assert preprocess_mask(half, size=(2, 2), aspect="stretch").all()
    np.testing.assert_array_equal(
        preprocess_mask(half, size=(2, 4), aspect="stretch"), np.tile([True, False], (2, 2))
    )


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([(8, 8), (6, 13), (12, 8)]),
    st.sampled_from(["stretch", "pad"]),
    st.data(),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_defect_of_one_pixel_never_vanishes_and_stays_in_its_place(
    height, width, size, aspect, data
):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    mask = np.zeros((height, width), bool)
    mask[row, column] = True
    small = preprocess_mask(mask, size=size, aspect=aspect)
    back = restore_map(small.astype(np.float32), original_size=(height, width), aspect=aspect)
    peaks = np.argwhere(back == back.max())
    reach = max(height / size[0], width / size[1]) + 1
    assert small.any()
    assert np.abs(peaks - (row, column)).max(axis=1).min() <= reach


@given(
    st.integers(8, 32),
    st.integers(8, 32),
    st.sampled_from([(16, 16), (12, 20), (20, 9)]),
    st.sampled_from(ASPECTS),
    st.data(),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_mask_and_image_have_the_same_geometry(height, width, size, aspect, data):
    top, left = data.draw(st.integers(0, height - 4)), data.draw(st.integers(0, width - 4))
    mask = np.zeros((height, width), bool)
    mask[
        top : data.draw(st.integers(top + 4, height)),
        left : data.draw(st.integers(left + 4, width)),
    ] = True
    picture = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).convert("RGB")
    image = preprocess(picture, size=size, aspect=aspect)[..., 0]
    small = preprocess_mask(mask, size=size, aspect=aspect)
    assert not small[image == 0].any()
    if aspect != "pad":
        assert small[image == 255].all()


def test_the_margins_of_pad_are_not_defective():
    mask = preprocess_mask(np.ones((8, 16), bool), size=(16, 16), aspect="pad")
    np.testing.assert_array_equal(mask.all(axis=1), np.repeat([False, True, False], [4, 8, 4]))
    assert not mask[[0, -1]].any()


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize(("height", "width"), [(90, 60), (60, 90), (20, 13), (64, 64)])
@pytest.mark.parametrize("size", [(32, 32), (24, 40), (40, 24)])
def test_restore_undoes_preprocess_on_smooth_pictures(aspect, height, width, size):
    rows, columns = np.mgrid[:height, :width]
    smooth = 120 + 50 * np.sin(3 * rows / height) + 50 * np.cos(2 * columns / width)
    picture = Image.fromarray(np.rint(smooth).astype(np.uint8)).convert("RGB")
    map_ = preprocess(picture, size=size, aspect=aspect)[..., 0].astype(np.float32)
    back = restore_map(map_, original_size=(height, width), aspect=aspect)
    assert back.shape == (height, width)
    assert back.dtype == np.float32
    if aspect == "crop":
        kept_height = min(height, round(width * size[0] / size[1]))
        kept_width = min(width, round(height * size[1] / size[0]))
        top, left = (height - kept_height) // 2, (width - kept_width) // 2
        back, smooth = (
            a[top : top + kept_height, left : left + kept_width] for a in (back, smooth)
        )
    edge = 2
    inner = (slice(edge, -edge), slice(edge, -edge))
    assert np.abs(back - smooth)[inner].max() < 4


def test_restore_repeats_the_border_where_crop_cut_off():
    map_ = RNG.random((8, 8)).astype(np.float32)
    back = restore_map(map_, original_size=(8, 14), aspect="crop")
    np.testing.assert_array_equal(back[:, 3:11], map_)
    np.testing.assert_array_equal(back[:, :3], map_[:, [0, 0, 0]])
    np.testing.assert_array_equal(back[:, 11:], map_[:, [-1, -1, -1]])


def test_restore_leaves_the_margins_of_pad_out():
    map_ = np.full((16, 16), 100.0, np.float32)
    map_[4:12] = RNG.random((8, 16))
    back = restore_map(map_, original_size=(40, 80), aspect="pad")
    assert back.shape == (40, 80)
    assert back.max() < 1.001


def test_pictures_in_memory_and_in_files_get_the_working_size(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(RGB).save(file)
    expected = preprocess(Image.fromarray(RGB), size=(4, 6), aspect="pad")
    pictures = list(as_pictures([RGB, file], size=(4, 6), aspect="pad", chunk=2))
    assert [picture.name for picture in pictures] == ["0", str(file)]
    for picture in pictures:
        np.testing.assert_array_equal(picture.pixels, expected)
        assert picture.original_size == RGB.shape[:2]


def test_an_image_that_cannot_be_used_costs_no_other(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"no picture")
    images = [RGB, file, RGB.astype(np.float32), tmp_path / "none.png", RGB]
    chunks = list(try_pictures(images, size=(4, 6), aspect="pad", chunk=2))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    found = [picture for chunk in chunks for picture in chunk]
    assert [isinstance(each, Broken) for each in found] == [False, True, True, True, False]
    assert [each.name for each in found] == ["0", str(file), "2", str(tmp_path / "none.png"), "4"]
    for each in found[1:4]:
        assert isinstance(each, Broken)
        assert each.name in each.problem
    with pytest.raises(InputError, match=r"a\.png: not a PNG"):
        list(as_pictures(images, size=(4, 6), aspect="pad", chunk=2))


@pytest.mark.parametrize(
    ("original_sizes", "arguments", "expected"),
    [
        ([(900, 900)], {}, (64, 64)),
        ([(20, 20)], {"resolution": 256}, (256, 256)),  # small pictures are enlarged
        ([(100, 400)], {}, (32, 128)),
        ([(400, 100)], {}, (128, 32)),
        ([(1024, 1000)], {}, (64, 64)),  # to the nearest multiple of 8
        ([(100, 400), (1, 90), (100, 400), (100, 100), (100, 400)], {}, (32, 128)),  # the median
        ([(100, 100), (100, 1600)], {}, (32, 128)),  # the middle of 1:1 and 1:16 is 1:4
        ([(100, 400)], {"aspect": "crop"}, (64, 64)),
        ([(100, 1600)], {"smallest": 32}, (32, 128)),  # not (16, 256): the area remains
        ([(1600, 100)], {"smallest": 26}, (128, 32)),
        ([(100, 400)], {"resolution": 16, "smallest": 32}, (32, 32)),
    ],
)
def test_the_working_size_of_known_cases(original_sizes, arguments, expected):
    arguments = {"resolution": 64, "smallest": 8, "aspect": "stretch", **arguments}
    assert working_size(original_sizes, **arguments) == expected


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=7),
    st.integers(32, 300),
    st.sampled_from([8, 16, 32]),
    st.sampled_from(["stretch", "pad"]),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_working_size_keeps_area_and_proportions(original_sizes, resolution, smallest, aspect):
    options = {"resolution": resolution, "smallest": smallest, "aspect": aspect}
    height, width = working_size(original_sizes, **options)
    assert height % 8 == width % 8 == 0
    assert min(height, width) >= smallest
    # Rounding moves each side by at most 4.
    assert abs(height * width - resolution**2) <= 4 * (height + width) + 16
    ratios = sorted(w / h for h, w in original_sizes)
    lowest, highest = ratios[(len(ratios) - 1) // 2], ratios[len(ratios) // 2]
    if min(height, width) > smallest:
        assert lowest <= (width + 4) / (height - 4)
        assert highest >= (width - 4) / (height + 4)
    turned = working_size([(w, h) for h, w in original_sizes], **options)
    assert turned == (width, height)
