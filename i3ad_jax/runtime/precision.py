"""`EXACT`, the precision of products that need all of float32.

GPUs from Ampere on compute float32 products and convolutions in TF32 by default: operands are
rounded to 10 bits of mantissa, a relative error of up to 2**-11 each, and sums stay float32. A
product takes `EXACT` where that error would grow or would be an error of the method:

- the windows of SSIM: its variances are small differences of large numbers;
- the projection of `pca`: its residual is a small difference of two images;
- the smoothing of maps for the pooling "peak", and the enlargement of maps: they do by products
  what SciPy and NumPy do elsewhere in float32, and cost nothing;
- the sum of a kernel's taps before a sub-pixel convolution: a kernel is rounded once, not twice.

Everything else is networks, their gradients and their latent search, which take the default of the
device. Those products are nearly all of the time, their errors are as those of other weights, and
no difference of theirs is compared with a threshold: scores are differences of images in float32.
Moments of maps, thresholds and losses are sums of products of single numbers, which have no TF32.

A CPU computes in float32 whatever is asked for.
"""

from contextlib import AbstractContextManager

import jax
from jax import lax

EXACT = lax.Precision.HIGHEST
TF32_ERROR = 0.02
"""Error of a score by TF32 in the networks, relative to the larger of the score and its threshold.

`tests/test_precision.py` keeps tiny networks within it; docs/scale.md has the errors of trained
ones, the largest of which is 1.3 %."""


def exact_products() -> AbstractContextManager[None]:
    """Return a context in which products without a precision of their own are `EXACT`."""
    return jax.default_matmul_precision("highest")
