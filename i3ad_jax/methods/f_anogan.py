# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""`f_anogan`: a Wasserstein GAN of normal images, and an encoder that finds latent vectors.

The encoder finds an image's latent vector at once, without a search.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from i3ad_jax.methods.anogan import LatentGanSettings, Learned, Learner
from i3ad_jax.methods.method import Batch, Metrics, NoSettings
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.nn.dcgan import MIN_SIZE, SIZE_MULTIPLE, Generator, ImageEncoder
from i3ad_jax.settings import setting
from i3ad_jax.shapes import Image, Images, PRNGKey


@dataclass(frozen=True)
class FAnoganSettings(LatentGanSettings):
    """Networks and training of f-AnoGAN."""

    adam_beta1: float = setting(0.0, minimum=0, below=1)
    """Adam's decay of the first moment (Gulrajani et al. 2017)."""
    adam_beta2: float = setting(0.9, minimum=0, below=1)
    """Adam's decay of the second moment (Gulrajani et al. 2017)."""
    gradient_penalty: float = setting(10.0, minimum=0, maximum=1e6)
    """Weight of the critic's gradient penalty (Gulrajani et al. 2017)."""
    critic_steps: int = setting(5, minimum=1, maximum=1000)
    """Updates of the critic for one of the generator (Gulrajani et al. 2017)."""
    encoder_fraction: float = setting(1 / 3, above=0, below=1)
    """The last part of the steps, which trains the encoder and nothing else."""


# Gulrajani et al. 2017, Schlegl et al. 2019.
_PAPER = FAnoganSettings(150_000, batch_size=64, discriminator_learning_rate=1e-4, latent_size=128)
# Twice the steps with half the images: its generator needs updates more than quiet ones. Where
# generated images are the distance W from true ones, the critic's gradient is 1 + W / (2 penalty)
# long: W is 6 here after training, and with the original penalty of 10 the gradient stays at 1.3.
_QUICK = replace(
    FAnoganSettings(
        3000, batch_size=8, width=16, latent_size=32, critic_steps=1, gradient_penalty=50.0
    ),
    generator_learning_rate=1e-3,
    discriminator_learning_rate=1e-3,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FAnoganState:
    """The three networks, and how many training steps led to them."""

    generator: Learned
    critic: Learned
    encoder: Learned
    steps: Any


@dataclass(frozen=True)
class FAnogan(ReconstructionMethod):
    """Encodes an image and generates it again.

    First generator and critic are trained against each other, then, with both frozen, the encoder.
    Sources: Schlegl et al. 2019, section 2, the encoder trained as "izi_f"; for the first part,
    Gulrajani et al. 2017, algorithm 1. The networks are DCGAN's, as in `anogan`, where Schlegl et
    al. have residual ones.
    """

    training: FAnoganSettings
    test: NoSettings

    name: ClassVar[str] = "f_anogan"
    size_multiple: ClassVar[int] = SIZE_MULTIPLE
    smallest_size: ClassVar[int] = MIN_SIZE
    steps_may_grow: ClassVar[bool] = False  # the encoder's part of them would begin later
    presets: ClassVar = {
        "quick": (_QUICK, NoSettings()),
        "paper": (_PAPER, NoSettings()),
        "paper_small": (replace(_PAPER, steps=10_000, batch_size=16, width=16), NoSettings()),
    }

    @property
    def gan_steps(self) -> int:
        """Steps before the encoder's."""
        return round((1 - self.training.encoder_fraction) * self.training.steps)

    @property
    def generator(self) -> Learner:
        """Latent vectors to images."""
        network = Generator(self.training.width, self.image_size)
        rate = self.training.generator_learning_rate
        return Learner(network, self._adam(rate), (self.training.latent_size,))

    @property
    def critic(self) -> Learner:
        """Images to a number, high where they look real."""
        return self._image_encoder(
            outputs=1, learning_rate=self.training.discriminator_learning_rate
        )

    @property
    def encoder(self) -> Learner:
        """Images to latent vectors."""
        settings = self.training
        return self._image_encoder(
            outputs=settings.latent_size, learning_rate=settings.generator_learning_rate
        )

    def _image_encoder(self, *, outputs: int, learning_rate: float) -> Learner:
        network = ImageEncoder(self.training.width, outputs=outputs)
        return Learner(network, self._adam(learning_rate), (self.image_size, self.image_size, 3))

    def _adam(self, learning_rate: float) -> optax.GradientTransformation:
        return optax.adam(learning_rate, self.training.adam_beta1, self.training.adam_beta2)

    def init(self, key: PRNGKey) -> FAnoganState:
        """Fresh weights and optimisers."""
        learners = self.generator, self.critic, self.encoder
        networks = (
            learner.init(key)
            for learner, key in zip(learners, jax.random.split(key, 3), strict=True)
        )
        return FAnoganState(*networks, steps=jnp.int32(0))

    def step(self, state: FAnoganState, batch: Batch, key: PRNGKey) -> tuple[FAnoganState, Metrics]:
        """One update of the critic and maybe of the generator; later on, one of the encoder.

        The losses of networks that are not updated are 0, and so is `gradient_norm` without the
        critic's.
        """
        images = batch.images
        in_gan = state.steps < self.gan_steps
        state, metrics = lax.cond(in_gan, self._train_gan, self._train_encoder, state, images, key)
        return replace(state, steps=state.steps + 1), metrics

    def begin(self, state: FAnoganState, image: Image) -> Image:
        """The image encoded and generated again."""
        return self._reconstruct(state, state.encoder.weights, image[None])[0]

    def features(self, state: FAnoganState, image: Image) -> Float[Array, " f"]:
        """The activations of the critic's last convolution."""
        return self.critic.apply(state.critic.weights, image[None])[0][0]

    def criticise(self, weights: Any, images: Images) -> Float[Array, " b"]:
        """The critic's value of each image, by these weights: high where it looks real."""
        _, values = self.critic.apply(weights, images)
        return values[:, 0]

    def critic_loss(
        self, weights: Any, real: Images, generated: Images, shares: Float[Array, " b"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The critic's loss, and the mean norm of its gradient, which the penalty draws towards 1.

        Args:
            weights: the critic's.
            real: true images.
            generated: from latent vectors.
            shares: in [0, 1], of the true image in each mixture at which the gradient is taken.
        """
        shares = shares[:, None, None, None]
        norms = gradient_norms(
            lambda x: self.criticise(weights, x), shares * real + (1 - shares) * generated
        )
        penalty = self.training.gradient_penalty * jnp.mean((norms - 1) ** 2)
        loss = (
            jnp.mean(self.criticise(weights, generated))
            - jnp.mean(self.criticise(weights, real))
            + penalty
        )
        return loss, jnp.mean(norms)

    def _train_gan(
        self, state: FAnoganState, images: Images, key: PRNGKey
    ) -> tuple[FAnoganState, Metrics]:
        critic_key, share_key, generator_key = jax.random.split(key, 3)
        generated, _ = self._generate(
            state.generator.weights, state.generator, critic_key, len(images)
        )
        shares = jax.random.uniform(share_key, (len(images),))
        (c_loss, norm), gradient = jax.value_and_grad(self.critic_loss, has_aux=True)(
            state.critic.weights, images, generated, shares
        )
        critic = self.critic.update(state.critic, gradient)

        def generator_loss(weights: Any) -> tuple[Float[Array, ""], Any]:
            generated, averages = self._generate(
                weights, state.generator, generator_key, len(images)
            )
            return -jnp.mean(self.criticise(critic.weights, generated)), averages

        def update(generator: Learned) -> tuple[Learned, Float[Array, ""]]:
            (loss, averages), gradient = jax.value_and_grad(generator_loss, has_aux=True)(
                generator.weights
            )
            return self.generator.update(generator, gradient, averages=averages), loss

        def wait(generator: Learned) -> tuple[Learned, Float[Array, ""]]:
            return generator, jnp.float32(0)

        turn = (state.steps + 1) % self.training.critic_steps == 0
        generator, g_loss = lax.cond(turn, update, wait, state.generator)
        return replace(state, generator=generator, critic=critic), _metrics(
            critic_loss=c_loss, gradient_norm=norm, generator_loss=g_loss
        )

    def _train_encoder(
        self, state: FAnoganState, images: Images, key: PRNGKey
    ) -> tuple[FAnoganState, Metrics]:
        """Schlegl et al. 2019, equation 4, with kappa 1."""
        features, _ = self.critic.apply(state.critic.weights, images)

        def loss(weights: Any) -> Float[Array, ""]:
            reconstructed = self._reconstruct(state, weights, images)
            features_again, _ = self.critic.apply(state.critic.weights, reconstructed)
            pixels = jnp.mean((images - reconstructed) ** 2)
            return pixels + jnp.mean((features - features_again) ** 2)

        value, gradient = jax.value_and_grad(loss)(state.encoder.weights)
        encoder = self.encoder.update(state.encoder, gradient)
        return replace(state, encoder=encoder), _metrics(encoder_loss=value)

    def _generate(
        self, weights: Any, generator: Learned, key: PRNGKey, count: int
    ) -> tuple[Images, Any]:
        """Images of random latent vectors, and the running averages after them."""
        latents = jax.random.normal(key, (count, self.training.latent_size))
        return self.generator.train(weights, generator.averages, latents)

    def _reconstruct(self, state: FAnoganState, encoder: Any, images: Images) -> Images:
        _, latents = self.encoder.apply(encoder, images)
        generator = state.generator
        return self.generator.apply(generator.weights, latents, averages=generator.averages)


def gradient_norms(
    critic: Callable[[Images], Float[Array, " b"]], images: Images
) -> Float[Array, " b"]:
    """The Euclidean norm of the gradient of each image's value by the image.

    `critic` gives a value for each image that depends on no other image.
    """

    def total(images: Images) -> Float[Array, ""]:
        return jnp.sum(critic(images))

    _, gradients = jax.value_and_grad(total)(images)
    # The root's own gradient at 0 is not a number.
    return jnp.sqrt(jnp.sum(gradients**2, axis=(1, 2, 3)) + 1e-12)


def _metrics(**computed: Float[Array, ""]) -> Metrics:
    """These, and 0 for each of the others: both parts of the training have the same."""
    names = ("critic_loss", "gradient_norm", "generator_loss", "encoder_loss")
    return {name: jnp.float32(0) for name in names} | computed
