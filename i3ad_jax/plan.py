# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""`resolve`: from given settings and normal images to a `Plan`, where nothing is automatic."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from i3ad_jax.calibration.acquisition import Acquisition
from i3ad_jax.config import Config, default_config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Size, working_size
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.methods.method import Method, State
from i3ad_jax.methods.state import Trained, state_shapes
from i3ad_jax.preprocessing.preprocessing import ALIGNED, Preprocessing
from i3ad_jax.preprocessing.scales import halved
from i3ad_jax.runtime.configuration import configured
from i3ad_jax.runtime.memory import check_room
from i3ad_jax.settings import SettingError, flag

RESOLUTION = 320  # square root of the number of pixels: more would take too long by default
PARTLY_ALIGNED = 0.2  # of the variance of unseen images that the mean image explains
SMALL_REDUCTION = 6.0  # of the side of a picture: what spans some pixels is still seen


class Choice(NamedTuple):
    """Value of a setting that was automatic or given, and why."""

    value: str
    reason: str


Choices = Mapping[str, Choice]  # by the name of the setting


@dataclass(frozen=True, eq=False)
class Plan:
    """Plan of a run: the settings asked for, and the choices by normal images.

    Attributes:
        asked: settings as the user gave them.
        choices: settings that decide what networks see and which ones are used; all others are in
            `asked`.
        preprocessing: mapping from pixels to the networks' input.
        files: images to train on, and images reserved for calibration.
        acquisition: conditions of all of them; None where they are too few, and for a run of a
            version without.
    """

    asked: Config[Any, Any]
    choices: Choices
    preprocessing: Preprocessing
    files: TrainingFiles
    acquisition: Acquisition | None = None

    @cached_property
    def config(self) -> Config[Any, Any]:
        """Settings with every choice made."""
        return self.asked.with_settings(
            {name: choice.value for name, choice in self.choices.items()}
        )

    @cached_property
    def method(self) -> Method:
        """The method with its networks."""
        return self.config.build()

    @property
    def sizes(self) -> "Sizes":
        """Sizes at which images are seen."""
        own = self.preprocessing
        return Sizes(own.size, own.seen, own.side, own.levels)

    def trained(self, state: State, *, step: int) -> Trained:
        """Return the method with weights that `step` training steps led to."""
        return Trained(self.method, state, self.preprocessing, step)

    def with_asked(self, asked: Config[Any, Any]) -> "Plan":
        """Return the plan of other test settings, with the same choices."""
        known = asked.flat()
        kept = {name: choice for name, choice in self.choices.items() if name in known}
        return replace(self, asked=asked, choices=kept)

    def describe(self) -> list[str]:
        """Return the plan in a few lines for people."""
        config, preprocessing = self.config, self.preprocessing
        seen, *details = self.sizes.describe(self.choices["view"].value)
        named = {"context": "context encoder", "two_stage": "two-stage generator"}
        lines = [f"{seen}, because {self.choices['view'].reason}"]
        if (generator := self.choices.get("generator")) is not None:
            lines.append(f"{named[generator.value]}, because {generator.reason}")
        brightness = "normalised" if preprocessing.units.level is not None else "as it is"
        subtracted = {"none": "nothing", "colour": "mean colour", "image": "mean image"}
        lines.append(
            f"brightness {brightness} ({self.choices['levelling'].reason});"
            f" {subtracted[preprocessing.units.subtract]} subtracted"
            f" ({self.choices['centre'].reason})"
        )
        trained, calibrate = len(self.files.trained), len(self.files.calibration_set)
        other = " other images" if self.files.recalibrated else ""
        return [
            *lines,
            *details,
            f"{trained} images train {config.method}, {calibrate}{other} calibrate",
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all but the given settings, the mean image and the files as JSON values."""
        return {
            "choices": {name: choice._asdict() for name, choice in self.choices.items()},
            "preprocessing": self.preprocessing.to_json(),
            "trained": len(self.files.trained),
            "held_out": len(self.files.held_out),
            "acquisition": self.acquisition and self.acquisition.to_json(),
        }

    @classmethod
    def from_json(
        cls, asked: Config[Any, Any], values: Any, mean_image: np.ndarray, files: TrainingFiles
    ) -> "Plan":
        """Return the plan that `to_json` described.

        Raises:
            ValueError: a value is missing or cannot be used. The message is one line without a file
                name.
        """
        try:
            choices = {name: Choice(**choice) for name, choice in values["choices"].items()}
            preprocessing = Preprocessing.from_json(values["preprocessing"], mean_image)
            conditions = values.get("acquisition")
            acquisition = None if conditions is None else Acquisition.from_json(conditions)
            plan, stored = cls(asked, choices, preprocessing, files, acquisition), asked.flat()
            for name, choice in choices.items():
                if stored.get(name, "auto") not in ("auto", choice.value):
                    raise ValueError(f"{name} is {choice.value}, but {stored[name]} in config.json")
            method = plan.method
        except KeyError as error:
            raise ValueError(f"{error} is missing") from error
        except (TypeError, AttributeError, SettingError) as error:
            raise ValueError(str(error)) from error
        if method.image_size != preprocessing.side:
            raise ValueError(
                f"side {preprocessing.side} is not that of the settings, {method.image_size}"
            )
        if (preprocessing.levels > 0) != (plan.config.detail() is not None):
            raise ValueError("levels does not match the settings")
        return plan

    def check_memory(self) -> None:
        """Raise InputError if the weights and images of a training step do not fit in memory."""
        training: Any = self.method.training
        (side,) = self.config.possible_sides()
        sizes = {side: self.method.image_size}
        for name in ("width", "discriminator_width", "latent_size", "components", "batch_size"):
            if (value := getattr(training, name, None)) is not None:
                sizes[name] = value
        state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state_shapes(self.method)))
        check_room(state + _bytes_of_step(self.config, self.method.image_size), lower=sizes)


class Sizes(NamedTuple):
    """Sizes at which images are seen.

    Attributes:
        working: of the images: height, width.
        seen: size that squares are cut from.
        side: of the squares that networks see.
        levels: as of `Preprocessing`.
    """

    working: Size
    seen: Size
    side: int
    levels: int

    def describe(self, view: str) -> list[str]:
        """Return in words what networks see by this view; a line more if one sees details."""
        (height, width), side = self.seen, self.side
        seen = {
            "whole": f"whole images of {side} x {side} pixels",
            "tiles": f"tiles of {side} x {side} pixels, from images of {height} x {width}",
        }[view]
        if not self.levels:
            return [seen]
        details = ", ".join(
            f"{rows} x {columns}" for rows, columns in halved(self.working, self.levels)
        )
        return [seen, f"details at {details} pixels, by the segmentation network"]


class Resolved(NamedTuple):
    """A plan and the images that it names, in its working size."""

    plan: Plan
    images: Split
    held_out: Split


@configured
def resolve(config: Config[Any, Any], read: Callable[[Size], Split]) -> Resolved:
    """Divide normal images into training and calibration, and make every automatic choice by them.

    Args:
        config: settings asked for.
        read: returns the normal images in a size; called again if another than the small one is
            chosen.

    Raises:
        InputError: the images cannot be read or are too few, or memory is not enough.
    """
    for name, side in config.possible_sides().items():  # before images of that size are read
        check_room(_bytes_of_step(config, side), lower={name: side, **config.batch_sizes()})
    data, settings = config.data, config.preprocessing
    whole = (data.image_size, data.image_size)

    def divide(size: Size) -> tuple[TrainingFiles, Split, Split]:
        # Again for each size: an image that never was a file is recorded by its pixels. The
        # division is the same.
        train = read(size)
        files = TrainingFiles.choose(train, fraction=data.held_out, seed=config.seed)
        return files, *files.select(train)

    files, images, held_out = divide(whole)
    sizes = images.original_sizes + held_out.original_sizes
    small = (
        None
        if settings.view == "tiles"
        else learn_preprocessing(config, images, held_out, side=whole[0])
    )
    view = choose_view(config, small, sizes)
    chosen, learned = choose_sizes(config, view.value, sizes), small
    if chosen.working != whole:
        files, images, held_out = divide(chosen.working)
    if learned is None or (chosen.working, chosen.side) != (whole, whole[0]):
        learned = learn_preprocessing(config, images, held_out, side=chosen.side)
    learned = replace(learned, seen=chosen.seen, levels=chosen.levels)
    generator = choose_generator(config, (small or learned), whole=view.value == "whole")
    choices = {"view": view, **generator, **_chosen_units(config, learned)}
    plan = Plan(config, choices, learned, files, Acquisition.learn(images, held_out))
    plan.check_memory()
    return Resolved(plan, images, held_out)


def choose_view(
    config: Config[Any, Any], small: Preprocessing | None, original_sizes: Sequence[Size]
) -> Choice:
    """Choose whole images or tiles.

    Whole images where they are partly alike and lose little when made small, or are alike in
    detail, or a part of the method sees the detail anyway. Else tiles: surfaces whose shading alone
    is the same in all images have defects that a small image loses.

    Args:
        config: settings asked for.
        small: learned from small whole images; None if the settings say "tiles".
        original_sizes: sizes of these images.
    """
    asked = config.preprocessing.view
    if asked != "auto" or small is None:
        return _as_asked(config, "view")
    reduction = _median_side(original_sizes) / small.side
    in_detail = reduction > SMALL_REDUCTION and config.detail() is None
    name = "detail_explained_by_mean_image" if in_detail else "explained_by_mean_image"
    explained, needed = small.reasons[name], ALIGNED if in_detail else PARTLY_ALIGNED
    of_what = "of the detail in" if in_detail else "of"
    return Choice(
        "whole" if explained >= needed else "tiles",
        f"the mean image explains {max(explained, 0):.0%} {of_what} unseen normal images"
        f" (whole images from {needed:.0%})",
    )


def choose_sizes(config: Config[Any, Any], view: str, original_sizes: Sequence[Size]) -> Sizes:
    """Choose the working size and at how many sizes a method's `detail` sees an image.

    Without such a part, squares are cut from the working size, which is the squares' for whole
    images. With it, tiles are cut from images of half the working size: finer grain can hardly be
    inpainted, and takes four times as long.

    Args:
        config: settings asked for.
        view: "whole" or "tiles".
        original_sizes: of the images.
    """
    settings, whole, detail = config.preprocessing, view == "whole", config.detail()
    side = config.data.image_size if whole else settings.tile
    if whole and detail is None:
        return Sizes((side, side), (side, side), side, 0)
    resolution = settings.resolution or min(RESOLUTION, round(_median_side(original_sizes)))
    smallest = max(side, detail.side) if detail else side
    size = working_size(
        original_sizes, resolution=resolution, smallest=smallest, aspect=config.data.aspect
    )
    if detail is None:
        return Sizes(size, size, side, 0)
    levels = min(detail.levels, 1 + int(math.log2(min(size) / detail.side)))
    unit = math.lcm(side if whole else 1, detail.multiple << (levels - 1))
    fewest = math.ceil(max(side, detail.side << (levels - 1)) / unit)
    height, width = (max(round(length / unit), fewest) * unit for length in size)
    half = height // 2, width // 2
    seen = (side, side) if whole else half if min(half) >= side else (height, width)
    return Sizes((height, width), seen, side, levels)


def choose_generator(
    config: Config[Any, Any], learned: Preprocessing, *, whole: bool
) -> dict[str, Choice]:
    """Choose the generator of a method that has one.

    The context encoder where whole images are partly alike: it draws an image as a whole.

    Args:
        config: settings asked for.
        learned: from normal images.
        whole: whether networks see whole images.
    """
    explained = learned.reasons["explained_by_mean_image"]
    asked = config.flat().get("generator")
    if asked is None:
        return {}
    if asked != "auto":
        return {"generator": _as_asked(config, "generator")}
    if not whole:
        return {"generator": Choice("two_stage", "tiles have no common layout")}
    found = f"the mean image explains {max(explained, 0):.0%} of unseen normal images"
    return {"generator": Choice("context" if explained >= PARTLY_ALIGNED else "two_stage", found)}


def learn_preprocessing(
    config: Config[Any, Any], images: Split, held_out: Split, *, side: int
) -> Preprocessing:
    """Learn what networks of this side see of images in the size of these."""
    settings = config.preprocessing
    return Preprocessing.learn(
        images.images,
        held_out.images[:],
        side=side,
        levelling=settings.levelling,
        centre=settings.centre,
    )


def _chosen_units(config: Config[Any, Any], learned: Preprocessing) -> dict[str, Choice]:
    """Brightness normalisation and centre, as `Preprocessing.learn` chose them."""
    spread = learned.reasons["spread_of_grain"]
    found = {
        "levelling": Choice(
            "yes" if learned.units.level is not None else "no",
            f"log grain of normal images varies by {spread['as_they_are']:.2g},"
            f" normalised by {spread['levelled']:.2g}",
        ),
        "centre": Choice(learned.units.subtract, "unseen normal images differ least from it"),
    }
    settings = config.preprocessing.flat()
    return {
        name: x if settings[name] == "auto" else _as_asked(config, name)
        for name, x in found.items()
    }


def _as_asked(config: Config[Any, Any], name: str) -> Choice:
    """The choice of a setting that is not automatic."""
    value = config.flat()[name]
    by_preset = default_config(config.method, preset=config.preset).flat()[name] == value
    return Choice(value, f"preset {config.preset}" if by_preset else f"{flag(name)} {value}")


def _bytes_of_step(config: Config[Any, Any], side: int) -> int:
    """Bytes of a training batch of images and their reconstructions, float32."""
    return 2 * 3 * 4 * config.batch_sizes().get("batch_size", 0) * side**2


def _median_side(original_sizes: Sequence[Size]) -> float:
    """Side of the square with as many pixels as the median picture."""
    return math.sqrt(float(np.median([height * width for height, width in original_sizes])))
