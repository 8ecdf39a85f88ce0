"""A toy `inpaint` function and images for it."""

from typing import Any

import jax.numpy as jnp
import numpy as np

SIZE = (24, 32)


def blur(masked: Any, mask: Any) -> Any:
    """Box means of the known pixels."""
    rows, columns = (
        np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 5 for n in masked.shape[:2]
    )
    total, known = (
        jnp.einsum("ij,jwc,wk->ikc", np.float32(rows), x, np.float32(columns))
        for x in (masked, 1 - mask)
    )
    return total / (known + 0.01)


def random_image(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A ramp with a little noise and a spot of strong noise, which blurring cannot restore."""
    rng = np.random.default_rng(seed)
    image = np.linspace(-0.8, 0.6, size[1])[:, None] + rng.normal(0, 0.04, (*size, 3))
    y, x = rng.integers(0, 16, 2)
    image[y : y + 8, x : x + 8] += rng.normal(0, 0.5, (8, 8, 3))
    return np.clip(image, -1, 1).astype(np.float32)
