"""One training step in PyTorch, as `i3ad_jax.methods.i3ad.I3AD.step` does it.

Masks and the discounted weights of the reconstruction loss are given: there a data loader would
    draw them
beside the training. Ours draws them inside its step.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (PyTorch's own habit)

from benchmarks.torch_networks import load_discriminator, load_generator
from i3ad_jax.methods.inpainting_gan import GanSettings, GanState


def training_step(
    state: GanState, settings: GanSettings, *, compiled: bool, device: str
) -> Callable[[Tensor, Tensor, Tensor], Mapping[str, Tensor]]:
    """Return a function that updates both networks and returns the losses.

    Its arguments are images, masks and weights, `b c h w`.
    """
    host = jax.device_get(state)
    generator = load_generator(host.generator)
    discriminator = load_discriminator(host.discriminator, host.spectral).train()
    networks: Any = [
        network.to(device=device, memory_format=torch.channels_last)  # pyright: ignore
        for network in (generator, discriminator)
    ]
    betas = (settings.adam_beta1, settings.adam_beta2)
    rates = (settings.generator_learning_rate, settings.discriminator_learning_rate)
    adams = [
        torch.optim.Adam(network.parameters(), lr=rate, betas=betas)
        for network, rate in zip(networks, rates, strict=True)
    ]
    generate, discriminate = (
        torch.compile(network) if compiled else network for network in networks
    )

    def step(images: Tensor, masks: Tensor, weights: Tensor) -> Mapping[str, Tensor]:
        coarse, fine = generate(images * (1 - masks), masks)
        fake = masks * fine + (1 - masks) * images

        both = torch.cat([images, fake.detach()])
        real_logits, fake_logits = discriminate(both, torch.cat([masks, masks])).chunk(2)
        d_loss = F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()
        adams[1].zero_grad(set_to_none=True)
        d_loss.backward()
        adams[1].step()

        discriminator.requires_grad_(False)
        adversarial = -discriminate(fake, masks).mean()
        discriminator.requires_grad_(True)
        reconstruction = sum((weights * (images - x).abs()).mean() for x in (coarse, fine))
        g_loss = (
            settings.adversarial_weight * adversarial
            + settings.reconstruction_weight * reconstruction
        )
        adams[0].zero_grad(set_to_none=True)
        g_loss.backward()
        adams[0].step()
        return {"generator_loss": g_loss.detach(), "discriminator_loss": d_loss.detach()}

    return step
