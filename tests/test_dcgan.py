"""DCGAN's generator and encoder at every size."""

import jax
import jax.numpy as jnp
import pytest

from i3ad_jax.nn.dcgan import Generator, ImageEncoder, widths

KEY = jax.random.key(1)


@pytest.mark.parametrize(
    ("size", "bottom", "expected"),
    [
        (32, 4, [3, 6, 12]),
        (40, 5, [3, 6, 12]),
        (64, 4, [3, 6, 12, 24]),
        (256, 4, [3, 6, 12, 24, 24, 24]),
    ],
)
def test_networks_halve_and_double_any_size(size: int, bottom: int, expected: list[int]) -> None:
    assert widths(3, size) == expected
    generator, encoder = Generator(3, size), ImageEncoder(3, outputs=7)
    images, learned = jax.eval_shape(
        lambda key: generator.init_with_output(key, jnp.zeros((2, 5))), KEY
    )
    assert images.shape == (2, size, size, 3)
    assert learned["params"]["bottom"]["kernel"].shape == (5, bottom * bottom * expected[-1])
    (features, outputs), learned = jax.eval_shape(
        lambda key: encoder.init_with_output(key, jnp.zeros((2, size, size, 3))), KEY
    )
    assert features.shape == (2, bottom * bottom * expected[-1])
    assert outputs.shape == (2, 7)
    assert set(learned) == {"params"}
