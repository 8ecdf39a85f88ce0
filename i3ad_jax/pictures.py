"""Pictures of images, masks and anomaly maps, as arrays, Pillow images or text to put in a page."""

import base64
import io
import math
import textwrap
from functools import cache

import numpy as np
import scipy
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

COLOUR_MAP = "inferno"
OPACITY = (0.4, 0.8)  # of the coldest and the hottest colour over an image
REGION = (255, 64, 255)  # RGB of the lines around detected regions; --region of the page
GAP = 8  # pixels around and between the panels of a sheet
PANEL_SIDE = (240, 800)  # pixels of a panel's longer side: smaller images are enlarged
_TEXT = 14  # pixels of the size of letters
_LINE = 20  # pixels from one line of text to the next
_MAX_SPRITE_HEIGHT = 8192  # pixels; taller pictures are beyond some phones' graphics memory


def overlay(
    image: UInt8[np.ndarray, "h w 3"], anomaly_map: Float[np.ndarray, "h w"], *, vmax: float
) -> UInt8[np.ndarray, "h w 3"]:
    """The image in grey under a translucent heat map, uint8.

    Args:
        image: uint8 RGB.
        anomaly_map: scores of any range; 0 and less get the darkest colour, `vmax` and more the
            brightest. The hotter a pixel, the more its colour covers the image.
        vmax: one value for all images that are to be compared.
    """
    heat = np.clip(anomaly_map / max(vmax, np.finfo(np.float32).tiny), 0.0, 1.0)
    level = np.round(heat * 255).astype(np.uint8)
    colours, transparency = _heat_colours()
    grey = image.mean(axis=-1, dtype=np.float32)
    # Two lookups of 256 levels instead of arithmetic in float64: an image may have 12 million
    # pixels.
    return np.round(colours[level] + (transparency[level] * grey)[..., None]).astype(np.uint8)


@cache
def _heat_colours() -> tuple[Float[np.ndarray, "256 3"], Float[np.ndarray, " 256"]]:
    """Colour times opacity of each level of heat, and the opacity's complement."""
    opacity = np.linspace(*OPACITY, 256, dtype=np.float32)
    colours = _colours(np.arange(256)).astype(np.float32) * 255
    return opacity[:, None] * colours, 1 - opacity


def colour_stops(*, count: int = 9) -> list[str]:
    """Hex colours from the lowest to the highest value of the heat map, evenly spaced."""
    rgb = np.round(_colours(np.linspace(0.0, 1.0, count)) * 255).astype(int)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rgb]


def heat_tables(*, count: int = 17) -> dict[str, str]:
    """Tables of red, green and blue in 0 to 1, evenly spaced values of the heat map, for SVG."""
    rgb = _colours(np.linspace(0.0, 1.0, count)).T
    return {
        name: " ".join(f"{value:.3f}" for value in own)
        for name, own in zip("RGB", rgb, strict=True)
    }


def _colours(values: np.ndarray) -> Float[np.ndarray, "n 3"]:
    """Colours of the heat map: of integers in 0 to 255, or of floats in 0 to 1."""
    from matplotlib import colormaps  # slow to import, and scores need none of it

    return colormaps[COLOUR_MAP](values)[:, :3]


def outlined(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], *, width: int = 2
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a line around the True pixels of a mask; these pixels themselves stay as they are.

    Args:
        image: uint8 RGB.
        mask: True in the regions.
        width: of the line, in pixels; a black line of one pixel is around it.
    """
    result, inside = image.copy(), mask.astype(np.uint8)
    for margin, colour in ((width + 1, 0), (width, REGION)):
        near = scipy.ndimage.maximum_filter(inside, size=2 * margin + 1) > inside
        result[near] = colour
    return result


def colour_scale(width: int, height: int, *, mark: float | None) -> UInt8[np.ndarray, "h w 3"]:
    """Return a bar of the heat map's colours, the lowest value on the left.

    Args:
        width: pixels, at least 5.
        height: pixels.
        mark: fraction of the scale, from 0 to 1, at which a line is drawn; None for no line.
    """
    colours = np.round(_colours(np.linspace(0.0, 1.0, width)) * 255).astype(np.uint8)
    bar = np.repeat(colours[None], height, axis=0)
    if mark is not None:
        middle = min(max(round(mark * (width - 1)), 2), width - 3)
        bar[:, middle - 2 : middle + 3] = 0
        bar[:, middle - 1 : middle + 2] = REGION
    return bar


def result_sheet(
    image: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h w"],
    *,
    vmax: float,
    threshold: float | None,
    caption: str,
) -> Image.Image:
    """Image, image with its regions outlined, and heat map side by side, over a caption.

    Large images are reduced, small ones enlarged, to panels of `PANEL_SIDE`.

    Args:
        image: uint8 RGB.
        anomaly_map: of the same size.
        vmax: the map's value of the hottest colour.
        threshold: regions are where the map is above; None for no regions.
        caption: one line, which is wrapped.
    """
    least, most = PANEL_SIDE
    longer = max(image.shape[:2])
    zoom = min(1.0, most / longer) * max(1, least // longer)
    height, width = (max(1, round(side * zoom)) for side in image.shape[:2])

    def resized(values: np.ndarray) -> np.ndarray:
        # The mean of a box: a whole multiple keeps every pixel, and no small region vanishes.
        return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BOX))

    photo, heat = resized(image), resized(anomaly_map)
    above = anomaly_map > (np.inf if threshold is None else threshold)
    regions = resized(above.astype(np.uint8) * 255) > 0
    panels = (photo, outlined(photo, regions), overlay(photo, heat, vmax=vmax))

    cell = max(width, least)
    whole = 3 * cell + 4 * GAP
    lines = textwrap.wrap(caption, whole // (_TEXT // 2))
    bottom = GAP + height
    sheet = Image.new("RGB", (whole, bottom + (1 + len(lines)) * _LINE + 2 * GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    lefts = [GAP + column * (cell + GAP) for column in range(3)]
    for left, panel in zip(lefts, panels, strict=True):
        sheet.paste(Image.fromarray(panel), (left + (cell - width) // 2, GAP))
    named = "no regions known" if threshold is None else f"regions: map above {threshold:.4g}"
    for left, text in ((lefts[0], "image"), (lefts[1], named), (lefts[2], "0")):
        draw.text((left, bottom + 2), text, "black", font)
    end = f"{vmax:g}"
    draw.text((lefts[2] + cell, bottom + 2), end, "black", font, anchor="ra")
    mark = None if threshold is None else threshold / vmax
    room = cell - _TEXT - round(draw.textlength(end, font)) - _TEXT // 2
    scale = colour_scale(room, _TEXT, mark=mark)
    sheet.paste(Image.fromarray(scale), (lefts[2] + _TEXT, bottom + 4))
    for number, line in enumerate(lines, start=1):
        draw.text((GAP, bottom + GAP + number * _LINE), line, "black", font)
    return sheet


def contact_sheet(rows: list[UInt8[np.ndarray, "n h w 3"]], *, gap: int = 2) -> Image.Image:
    """One picture with a row of images for each batch, `gap` white pixels apart."""
    margins = ((0, 0), (0, gap), (0, gap), (0, 0))
    padded = [np.pad(images, margins, constant_values=255) for images in rows]
    return Image.fromarray(np.concatenate([np.concatenate(images, axis=1) for images in padded]))


def outline(mask: Bool[np.ndarray, "h w"]) -> str:
    """SVG path along the pixel edges between True and False, in pixels; the outside is False."""
    padded = np.pad(mask, 1).astype(np.int8)
    across = np.diff(padded, axis=0)[:, 1:-1] != 0
    down = np.diff(padded, axis=1)[1:-1].T != 0
    horizontal = [f"M{start} {line}h{length}" for line, start, length in _runs(across)]
    vertical = [f"M{line} {start}v{length}" for line, start, length in _runs(down)]
    return "".join(horizontal + vertical)


def _runs(lines: Bool[np.ndarray, "k n"]) -> list[tuple[int, int, int]]:
    """(line, start, length) of each run of True."""
    steps = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    return list(zip(rows.tolist(), starts.tolist(), (ends - starts).tolist(), strict=True))


def sprite_grid(num_states: int, height: int) -> tuple[int, int]:
    """(columns, rows) of a sprite sheet: as few columns as a bearable height allows.

    In a single column a pixel that stays the same from state to state recurs at short distance,
    which lossless compression finds.
    """
    columns = math.ceil(num_states * height / _MAX_SPRITE_HEIGHT)
    return columns, math.ceil(num_states / columns)


def sprite_sheet(states: np.ndarray) -> Image.Image:
    """All states (`t h w 3` uint8 or `t h w` bool) in one picture, row by row on `sprite_grid`."""
    columns, rows = sprite_grid(len(states), states.shape[1])
    missing = np.zeros((columns * rows - len(states), *states.shape[1:]), states.dtype)
    tiles = np.concatenate([states, missing]).reshape(rows, columns, *states.shape[1:])
    return Image.fromarray(np.concatenate(np.concatenate(tiles, axis=1), axis=1))


def data_uri(image: Image.Image, *, lossless: bool, quality: int = 90) -> str:
    """The picture as a `data:` address: PNG for black and white, WebP for everything else.

    Args:
        image: the picture.
        lossless: whether WebP keeps every pixel as it is.
        quality: 0 to 100, of WebP.
    """
    buffer = io.BytesIO()
    kind = "png" if image.mode == "1" else "webp"
    options = {"optimize": True} if kind == "png" else {"lossless": lossless, "quality": quality}
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
