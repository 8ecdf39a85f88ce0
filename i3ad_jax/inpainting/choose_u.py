# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""The threshold u of the SSIM mask, chosen on normal images alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from i3ad_jax.settings import Settings, setting

_PAPER_CANDIDATES = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50)
# By what stays outside the mask.
# Deviation: the paper's end at 0.50. On a rough surface, whose grain no network predicts, 1 - SSIM
# is above that here and there in a normal image too, and the loop drifts away; at 1 it masks hardly
# a pixel, and what the checkerboard pass inpainted stays. Where the original stays instead, that
# would be a perfect copy of it.
U_CANDIDATES = {
    "original": _PAPER_CANDIDATES,
    "previous": (*_PAPER_CANDIDATES, 0.60, 0.70, 0.80, 0.90, 1.00),
}


@dataclass(frozen=True)
class ThresholdSettings(Settings):
    """The threshold u of the SSIM mask, or the rule that chooses it."""

    u: float | None = setting(None, minimum=0, maximum=2)
    """Threshold of the SSIM mask, 0 to 2 as 1 - SSIM; None chooses it on held-out normal images by
    the paper's rule."""
    u_tolerance: float = setting(0.01, above=0, maximum=2)
    """The rule takes the smallest u whose mean L1 error on normal images, in [0, 1], is below this.
    The paper's exponent is lost."""
    u_iterations: int = setting(10, minimum=1, maximum=1_000_000)
    """Mask updates before that error is taken (paper: 10), whatever --iterations says."""
    u_images: int = setting(16, minimum=1, maximum=10_000)
    """At most this many of the held-out images, drawn at random, serve the rule."""


class ChosenU(NamedTuple):
    """The threshold u and the reason for it."""

    u: float
    reason: str


def choose_u(errors: Mapping[float, float], *, tolerance: float) -> ChosenU:
    """The smallest candidate u whose reconstruction error on normal images is below `tolerance`.

    The paper's rule (section 3.1), with more candidates. Where none gets there, the one of least
    error.

    Args:
        errors: mean L1 error, in [0, 1], of normal images for each candidate, from the smallest on.
        tolerance: in [0, 1].
    """
    for u, error in errors.items():
        if error < tolerance:
            return ChosenU(u, f"smallest u with an L1 error below {tolerance:g}: {error:.4g}")
    best = min(errors, key=errors.__getitem__)
    reason = (
        f"no u has an L1 error below {tolerance:g}; this one has the smallest, {errors[best]:.4g}"
    )
    return ChosenU(best, reason)
