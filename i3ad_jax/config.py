"""Every setting of a run, its default and its source; imports no jax.

The classes are frozen and hold only numbers, strings and tuples, so that a `Config` can be saved as
JSON, compared, and closed over by a compiled function. The commands turn each field into a flag of
the same name; the text below a field is that flag's help.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from i3ad_jax.errors import InputError


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are brought to one size."""

    data: str = "textures:weave"
    """Built-in textures (textures:weave, textures:mesh, textures:brick), a folder in MVTec layout, or
    tfds:mvtec_ad/CATEGORY."""
    image_size: int = 256
    """Side in pixels to which every image is resized (paper: 256); a multiple of 8, at least 32."""
    aspect: Literal["stretch", "pad", "crop"] = "stretch"
    """How an image that is not square becomes square: stretched (the paper), padded by repeating
    its border, or cropped to its centre."""
    held_out: float = 0.2
    """Fraction of the normal training images kept from training; u and thresholds come from them."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the networks."""

    width: int = 24
    """Channels of the generator's first layer after gating; the paper's network has 24. Channels of the first
    layer of the autoencoders (32), of the U-Net and of the networks of AnoGAN and f-AnoGAN (64)."""
    dilations: tuple[int, ...] = (2, 4, 8, 16)
    """Dilation of each dilated convolution in the middle of the generator's stages."""
    discriminator_width: int = 64
    """Channels of the discriminator's first layer; later layers have 2, then 4 times as many."""
    discriminator_depth: int = 6
    """Number of stride-2 convolutions of the discriminator."""
    latent_size: int = 100
    """Length of the vector to which the autoencoders and the U-Net reduce an image (paper: 100), and from
    which AnoGAN and f-AnoGAN make one."""
    skips: tuple[int, ...] = ()
    """Skip connections of the U-Net that are on: 1, next to the image, to 4."""
    components: int = 30
    """Principal components of pca; fewer than there are training images."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that the networks of I3AD and AEGAN compute in; weights, losses and scores are float32 either way,
    and so is everything in the other methods."""


@dataclass(frozen=True)
class TrainingConfig:
    """The optimisation of the two networks."""

    steps: int = 500_000
    """Training steps."""
    batch_size: int = 10
    """Images per training step."""
    generator_learning_rate: float = 1e-4
    """Adam's step size for the generator; for the only network of methods without adversary."""
    discriminator_learning_rate: float = 4e-4
    """Adam's step size for the discriminator, or critic."""
    adam_beta1: float = 0.5
    """Adam's decay of the first moment. Not in the paper; Yu et al. 2019."""
    adam_beta2: float = 0.999
    """Adam's decay of the second moment. Not in the paper; Yu et al. 2019."""
    reconstruction_weight: float = 1.0
    """Weight of the discounted L1 term in the generator's loss. Not in the paper; Yu et al. 2019."""
    adversarial_weight: float = 1.0
    """Weight of the adversarial term in the generator's loss. Not in the paper; Yu et al. 2019."""
    discount: float = 0.99
    """Base of the spatial discount: a hole pixel d pixels away from known ones weighs discount**d."""
    gradient_penalty: float = 10.0
    """f-AnoGAN: weight of the critic's gradient penalty (Gulrajani et al. 2017)."""
    critic_steps: int = 5
    """f-AnoGAN: updates of the critic for one of the generator (Gulrajani et al. 2017)."""
    encoder_fraction: float = 1 / 3
    """f-AnoGAN: the last part of the steps, which trains the encoder and nothing else."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    sample_every: int = 500
    """Steps between sample pictures."""


@dataclass(frozen=True)
class RefineConfig:
    """The test-time loop and its anomaly maps."""

    iterations: int = 30
    """Mask updates per image (paper: 30); 0 stops after the checkerboard pass."""
    patches: int = 6
    """The checkerboard's number of patches along each side (paper: 6)."""
    base: Literal["previous", "original"] = "previous"
    """What pixels outside the mask are taken from: the previous image (the paper's formula) or the
    original one (its text)."""
    u: float | None = None
    """Threshold of the SSIM mask; None chooses it on held-out normal images by the paper's rule."""
    u_tolerance: float = 0.01
    """The rule takes the smallest u whose mean L1 error on normal images, in [0, 1], is below this.
    The paper's exponent is lost."""
    u_iterations: int = 10
    """Mask updates before that error is taken (paper: 10)."""
    u_images: int = 16
    """At most this many held-out images serve the rule."""
    shrink: bool = False
    """Let masks only shrink: a pixel once released stays released."""
    stop_tolerance: float = 0.0
    """An image is finished once its mask changes by no more than this fraction of its area; 0 gives
    exactly the result of all iterations."""
    ssim_window: Literal["gaussian", "uniform"] = "gaussian"
    """Weights of the 11 x 11 SSIM window: Gaussian of standard deviation 1.5, or uniform."""
    ssim_constants: Literal["squared", "printed"] = "squared"
    """SSIM's c1, c2: 0.01**2, 0.03**2 (Wang et al. 2004), or 0.01, 0.03 as the paper prints them."""
    ssim_score: Literal["distance", "half"] = "distance"
    """Anomaly score of a pixel: 1 - SSIM, or half of it."""
    test_batch_size: int = 8
    """Images that go through the loop together, on all devices; it changes speed, not results."""
    queue_size: int = 64
    """Images handed to the compiled loop at a time; a finished one makes room for the next. Like the batch
    size it changes speed, memory and how often the progress bar moves, not results."""


@dataclass(frozen=True)
class SearchConfig:
    """The baselines that descend a gradient at test time."""

    projection_steps: int = 50
    """Iterative projection: gradient steps on the image (paper: 50)."""
    projection_rate: float = 0.5
    """Iterative projection: size of a step, alpha (paper: 0.5)."""
    projection_weight: float = 0.05
    """Iterative projection: weight of the L1 distance to the original, lambda (paper: 0.05)."""
    latent_steps: int = 500
    """AnoGAN: gradient steps on the latent vector (paper: 500)."""
    latent_learning_rate: float = 0.05
    """AnoGAN: Adam's step size on the latent vector. Not in the paper."""
    feature_weight: float = 0.1
    """AnoGAN: weight of the distance between discriminator features; the pixels' is 1 minus it (Schlegl et
    al. 2017)."""


@dataclass(frozen=True)
class ScoreConfig:
    """The calibrated scores. Not in the paper, whose scores are means of maps."""

    standardise: Literal["auto", "pixel", "global", "none"] = "auto"
    """Calibrated maps are in standard deviations from what held-out normal images show: at each pixel, for
    objects that always lie alike, or at all together, for textures; auto lets those images decide."""
    top_fraction: float = 0.01
    """A calibrated image score is the mean of this fraction of the map's pixels, the highest."""


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    method: str = "i3ad"
    """What to train: i3ad, l2_ae, ssim_ae, l2_ae_projection, ssim_ae_projection, anogan, f_anogan, aegan,
    unet or pca."""
    preset: str = "quick"
    """Defaults of all other settings: quick (64 x 64, minutes on two CPU cores) or paper (256 x 256)."""
    seed: int = 0
    """Of weights, batches, training masks and the held-out split."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)

    def to_json(self) -> dict[str, Any]:
        """The settings as nested dicts of JSON values."""
        return dataclasses.asdict(self)

    def flat(self) -> dict[str, Any]:
        """Every setting by its name, which is its flag's too."""
        flat = {}
        for name, value in self.to_json().items():
            flat |= value if isinstance(value, dict) else {name: value}
        return flat

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Config":
        """The settings that `to_json` gave.

        Raises:
            TypeError, KeyError, ValueError: a setting is missing, unknown or of the wrong kind.
        """
        parts: dict[str, Any] = {
            "data": DataConfig,
            "network": NetworkConfig,
            "training": TrainingConfig,
            "refine": RefineConfig,
            "search": SearchConfig,
            "score": ScoreConfig,
        }
        values = {"score": {}, **values}  # runs of earlier versions lack it
        for name, part in parts.items():  # JSON has lists where the settings have tuples
            fields = {key: tuple(v) if isinstance(v, list) else v for key, v in values[name].items()}
            parts[name] = part(**fields)
        return cls(**{**values, **parts})


def validate(config: Config) -> None:
    """Raises InputError naming the first setting that makes no sense, whatever the method or the data."""
    data, network, training = config.data, config.network, config.training
    refine, search = config.refine, config.search
    positive = {
        "--steps": training.steps,
        "--batch-size": training.batch_size,
        "--checkpoint-every": training.checkpoint_every,
        "--sample-every": training.sample_every,
        "--generator-learning-rate": training.generator_learning_rate,
        "--discriminator-learning-rate": training.discriminator_learning_rate,
        "--width": network.width,
        "--discriminator-width": network.discriminator_width,
        "--discriminator-depth": network.discriminator_depth,
        "--dilations": min(network.dilations, default=1),
        "--test-batch-size": refine.test_batch_size,
        "--queue-size": refine.queue_size,
        "--u-images": refine.u_images,
        "--u-tolerance": refine.u_tolerance,
        "--latent-size": network.latent_size,
        "--components": network.components,
        "--critic-steps": training.critic_steps,
        "--projection-steps": search.projection_steps,
        "--projection-rate": search.projection_rate,
        "--latent-steps": search.latent_steps,
        "--latent-learning-rate": search.latent_learning_rate,
    }
    not_negative = {
        "--seed": config.seed,
        "--iterations": refine.iterations,
        "--u-iterations": refine.u_iterations,
        "--stop-tolerance": refine.stop_tolerance,
        "--reconstruction-weight": training.reconstruction_weight,
        "--adversarial-weight": training.adversarial_weight,
        "--gradient-penalty": training.gradient_penalty,
        "--projection-weight": search.projection_weight,
    }
    for flag, value in positive.items():
        if not value > 0:
            raise InputError(f"{flag} {value}: must be more than 0")
    for flag, value in not_negative.items():
        if not value >= 0:
            raise InputError(f"{flag} {value}: must not be negative")
    fractions = {"--adam-beta1": training.adam_beta1, "--adam-beta2": training.adam_beta2}
    for flag, value in fractions.items():
        if not 0 <= value < 1:
            raise InputError(f"{flag} {value}: must be at least 0 and less than 1")
    if not 0 < training.encoder_fraction < 1:
        raise InputError(f"--encoder-fraction {training.encoder_fraction}: must be between 0 and 1")
    if not 0 <= search.feature_weight <= 1:
        raise InputError(f"--feature-weight {search.feature_weight}: must be between 0 and 1")
    if not 0 < config.score.top_fraction <= 1:
        raise InputError(f"--top-fraction {config.score.top_fraction}: must be more than 0 and at most 1")
    if not 0 < training.discount <= 1:
        raise InputError(f"--discount {training.discount}: must be more than 0 and at most 1")
    if not 2 <= refine.patches <= data.image_size:
        raise InputError(
            f"--patches {refine.patches}: must be between 2 and the image size, {data.image_size}"
        )
    if refine.u is not None and not 0 <= refine.u <= 2:
        raise InputError(f"--u {refine.u}: 1 - SSIM lies between 0 and 2, so u must too")
