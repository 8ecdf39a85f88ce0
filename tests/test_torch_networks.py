"""The networks and a gradient of the generator's loss against the same written in PyTorch."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from i3ad_jax.inpainting.losses import discounted_l1_loss, generator_hinge_loss
from i3ad_jax.nn.inpainter import Inpainter
from i3ad_jax.nn.patchgan import PatchDiscriminator
from tests.support.random_weights import random_weights

torch = pytest.importorskip("torch", reason="pip install -e '.[test-all]'")
from benchmarks import torch_networks  # noqa: E402  (it needs torch)

pytestmark = pytest.mark.slow

INPAINTER = Inpainter(width=4, dilations=(2, 4))
PATCHGAN = PatchDiscriminator(width=4, depth=4)
SIZES = [(64, 64), (32, 48)]


def random_batch(height: int, width: int) -> tuple[Any, Any]:
    """Two images in [-1, 1] and masks with a third of the pixels in holes."""
    rng = np.random.default_rng(1)
    images = rng.uniform(-1, 1, (2, height, width, 3)).astype(np.float32)
    return images, (rng.uniform(size=(2, height, width, 1)) < 1 / 3).astype(np.float32)


@pytest.fixture(scope="module")
def params() -> Any:
    images, masks = random_batch(32, 32)
    params = random_weights(
        jax.eval_shape(INPAINTER.init, jax.random.key(0), images, masks)["params"]
    )
    assert params["attention"]["scale"] != 0  # as it is at first, which would hide the attention
    return params


@pytest.fixture(scope="module")
def discriminator() -> Any:
    images, masks = random_batch(32, 32)
    init = partial(PATCHGAN.init, update_stats=False)
    return random_weights(jax.eval_shape(init, jax.random.key(0), images, masks))


def to_torch(images: Any) -> Any:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def assert_twins(flax: Any, torch_value: Any) -> None:
    expected = torch_value.detach().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(flax, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_generator(size: tuple[int, int], params: Any) -> None:
    images, masks = random_batch(*size)
    masked = images * (1 - masks)
    coarse, fine = jax.jit(INPAINTER.apply)({"params": params}, masked, masks)
    twin_coarse, twin_fine = torch_networks.load_generator(params)(
        to_torch(masked), to_torch(masks)
    )
    assert np.std(coarse) > 0.1  # not saturated, not constant
    assert np.std(fine) > 0.1
    assert_twins(coarse, twin_coarse)
    assert_twins(fine, twin_fine)


@pytest.mark.parametrize("size", SIZES)
def test_discriminator(size: tuple[int, int], discriminator: Any) -> None:
    images, masks = random_batch(*size)
    logits = jax.jit(partial(PATCHGAN.apply, update_stats=False))(discriminator, images, masks)
    twin = torch_networks.load_discriminator(discriminator["params"], discriminator["batch_stats"])
    assert_twins(logits, twin(to_torch(images), to_torch(masks)))


def test_gradient_of_generator_loss(params: Any, discriminator: Any) -> None:
    """Gradients of both reconstructions and the adversarial term by every weight."""
    images, masks = random_batch(32, 48)
    masked = images * (1 - masks)
    weights = np.random.default_rng(2).uniform(0, 1, masks.shape).astype(np.float32)

    @jax.jit
    @jax.grad
    def gradient(params: Any, images: Any, masked: Any, masks: Any, weights: Any) -> Any:
        outputs: Any = INPAINTER.apply({"params": params}, masked, masks)
        fake = masks * outputs[1] + (1 - masks) * images
        logits: Any = PATCHGAN.apply(discriminator, fake, masks, update_stats=False)
        reconstruction = sum(discounted_l1_loss(images, x, weights) for x in outputs)
        return generator_hinge_loss(logits) + reconstruction

    generator = torch_networks.load_generator(params)
    twin = torch_networks.load_discriminator(discriminator["params"], discriminator["batch_stats"])
    real, holes = to_torch(images), to_torch(masks)
    coarse, fine = generator(to_torch(masked), holes)
    loss = -twin(holes * fine + (1 - holes) * real, holes).mean()
    for output in (coarse, fine):
        loss = loss + (to_torch(weights) * (real - output).abs()).mean()
    loss.backward()

    # Loading gradients as if they were weights brings them into PyTorch's names and layout.
    expected = dict(
        torch_networks.load_generator(
            gradient(params, images, masked, masks, weights)
        ).named_parameters()
    )
    for name, parameter in generator.named_parameters():
        if name == "attention.key.bias":
            # moves all keys alike, which softmax does not see: a gradient of 0 except for rounding
            continue
        assert parameter.grad is not None
        wanted = expected[name].detach().numpy()
        tolerance = 1e-4 * np.abs(wanted).max()
        np.testing.assert_allclose(
            parameter.grad.numpy(), wanted, rtol=0, atol=tolerance, err_msg=name
        )
