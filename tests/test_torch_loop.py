"""The loop in PyTorch against ours: the benchmarks compare like with like."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.inpainting.refine import LoopSettings, refine
from i3ad_jax.nn.inpainter import Inpainter
from i3ad_jax.scoring.ssim import SsimSettings, ssim_anomaly, ssim_with
from tests.support.random_weights import LARGEST_GAIN, random_weights
from tests.support.toy_inpainting import random_image

torch = pytest.importorskip("torch", reason="pip install -e '.[test-all]'")
from benchmarks import torch_loop  # noqa: E402  (it needs torch)
from benchmarks.precision import arithmetic  # noqa: E402
from benchmarks.torch_networks import load_generator  # noqa: E402

pytestmark = pytest.mark.slow

INPAINTER = Inpainter(width=2, dilations=(2,))
IMAGES = np.stack([random_image(seed, (32, 40)) for seed in range(3)])
TENSORS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def params() -> Any:
    images, masks = jnp.zeros((1, 32, 40, 3)), jnp.zeros((1, 32, 40, 1))
    return random_weights(
        jax.eval_shape(INPAINTER.init, jax.random.key(0), images, masks), gain=LARGEST_GAIN
    )["params"]


def test_ssim() -> None:
    references, images = (
        np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 40, 3)).astype(np.float32)
    )
    images = 0.8 * images + 0.2 * references
    ours = jax.vmap(lambda a, b: ssim_with(a)(b))(references, images)
    first, second = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in (references, images))
    assert np.std(ours) > 0.05
    np.testing.assert_allclose(torch_loop.Ssim(first)(second), ours, rtol=0, atol=1e-5)


def test_ssim_is_in_full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    convolve, allowed = torch.nn.functional.conv2d, []

    def watched(*arguments: Any, **options: Any) -> Any:
        allowed.append(torch.backends.cudnn.allow_tf32)
        return convolve(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "conv2d", watched)
    with arithmetic("tf32"):
        torch_loop.Ssim(TENSORS)(TENSORS)
        assert torch.backends.cudnn.allow_tf32
    assert allowed
    assert not any(allowed)


@pytest.mark.parametrize(("iterations", "together"), [(0, 64), (5, 64), (5, 1)])
def test_maps(params: Any, iterations: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_loop, "TOGETHER", together)

    def inpaint(masked: Any, mask: Any) -> Any:
        outputs: Any = INPAINTER.apply({"params": params}, masked[None], mask[None])
        return outputs[1][0]

    settings, u = LoopSettings(iterations=iterations, patches=4), 0.91

    def loop(image: Any) -> Any:
        return refine(
            inpaint, image, score=ssim_anomaly(image, SsimSettings()), u=u, settings=settings
        )

    ours = jax.jit(jax.vmap(loop))(IMAGES)
    generator = load_generator(params).eval()
    theirs = torch_loop.refine(generator, TENSORS, u=u, iterations=iterations, patches=4)
    assert 0 < float(np.mean(np.asarray(ours.score) >= u)) < 1
    np.testing.assert_allclose(theirs, ours.score, rtol=0, atol=1e-4)
