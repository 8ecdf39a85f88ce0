"""The presets: which settings a method starts from."""

from dataclasses import replace
from typing import Any

from i3ad_jax.config import Config, DataConfig, NetworkConfig, TrainingConfig

_QUICK = Config(
    data=DataConfig(image_size=64),
    network=NetworkConfig(width=8, dilations=(2, 4, 8), discriminator_width=16, discriminator_depth=4),
    # Small networks and few steps: they learn faster and hold still by larger steps and a quieter adversary.
    training=TrainingConfig(
        steps=1500,
        batch_size=4,
        generator_learning_rate=1e-3,
        discriminator_learning_rate=1e-3,
        adversarial_weight=1e-3,
    ),
)
_PAPER = Config(preset="paper")

# What a method's defaults have else than I3AD's and AEGAN's: settings of the networks, then of the training.
_AUTOENCODERS = ("l2_ae", "ssim_ae", "l2_ae_projection", "ssim_ae_projection")
_BASELINES: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "quick": {
        **dict.fromkeys(
            _AUTOENCODERS,
            ({"width": 16}, {"batch_size": 10, "adam_beta1": 0.9}),
        ),
        # It has four times the autoencoders' convolutions at full size.
        "unet": ({"width": 8}, {"batch_size": 10, "adam_beta1": 0.9}),
        "anogan": (
            {"width": 16, "latent_size": 32},
            {"batch_size": 16, "discriminator_learning_rate": 4e-4},
        ),
        # Twice the steps with half the images: its generator needs updates more than quiet ones. Where
        # generated images are the distance W from true ones, the critic's gradient is 1 + W / (2 penalty)
        # long: W is 6 here after training, and with the original penalty of 10 the gradient stays at 1.3.
        "f_anogan": (
            {"width": 16, "latent_size": 32},
            {
                "steps": 3000,
                "batch_size": 8,
                "adam_beta1": 0.0,
                "adam_beta2": 0.9,
                "critic_steps": 1,
                "gradient_penalty": 50.0,
            },
        ),
    },
    "paper": {
        # The paper, section 3.1; widths by Bergmann et al. 2018.
        **dict.fromkeys((*_AUTOENCODERS, "unet"), ({"width": 32}, {"steps": 20_000, "adam_beta1": 0.9})),
        # Not in the paper: Radford et al. 2016, Gulrajani et al. 2017, Schlegl et al. 2019.
        "anogan": (
            {"width": 64},
            {
                "steps": 20_000,
                "batch_size": 64,
                "generator_learning_rate": 2e-4,
                "discriminator_learning_rate": 2e-4,
            },
        ),
        "f_anogan": (
            {"width": 64, "latent_size": 128},
            {
                "steps": 150_000,
                "batch_size": 64,
                "discriminator_learning_rate": 1e-4,
                "adam_beta1": 0.0,
                "adam_beta2": 0.9,
            },
        ),
    },
}
PRESETS = {"quick": _QUICK, "paper": _PAPER}


def defaults(preset: str, method: str) -> Config:
    """The settings of a method under a preset of `PRESETS`."""
    config = PRESETS[preset]
    network, training = _BASELINES[preset].get(method, ({}, {}))
    return replace(
        config,
        method=method,
        network=replace(config.network, **network),
        training=replace(config.training, **training),
    )
