"""`f_anogan`: a Wasserstein GAN of normal images, and an encoder that finds their latent vectors at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from i3ad_jax.config import Config
from i3ad_jax.methods.anogan import Learned, Learner
from i3ad_jax.methods.method import Metrics, check_image_size
from i3ad_jax.methods.reconstruction import Model
from i3ad_jax.nn.dcgan import MIN_SIZE, SIZE_MULTIPLE, Generator, ImageEncoder
from i3ad_jax.shapes import Image, Images, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FAnoganState:
    """The three networks, and how many training steps led to them."""

    generator: Learned
    critic: Learned
    encoder: Learned
    steps: Int[Array, ""]


class FAnoganModel(Model):
    """A `Model` that encodes an image and generates it again.

    First generator and critic are trained against each other, then, with both frozen, the encoder. Sources:
    Schlegl et al. 2019, section 2, the encoder trained as "izi_f"; for the first part, Gulrajani et al. 2017,
    algorithm 1. The networks are DCGAN's, as in `anogan`, where Schlegl et al. have residual ones.
    """

    def __init__(self, config: Config) -> None:
        """Raises InputError where the networks cannot make images of the wanted size."""
        network, training = config.network, config.training
        size = check_image_size(config, multiple=SIZE_MULTIPLE, smallest=MIN_SIZE)
        self.latent_size, self.training = network.latent_size, training
        self.gan_steps = round((1 - training.encoder_fraction) * training.steps)
        betas = training.adam_beta1, training.adam_beta2
        generator_adam = optax.adam(training.generator_learning_rate, *betas)
        critic_adam = optax.adam(training.discriminator_learning_rate, *betas)
        critic = ImageEncoder(network.width, outputs=1)
        encoder = ImageEncoder(network.width, outputs=network.latent_size)
        self.generator = Learner(Generator(network.width, size), generator_adam, (network.latent_size,))
        self.critic = Learner(critic, critic_adam, (size, size, 3))
        self.encoder = Learner(encoder, generator_adam, (size, size, 3))

    def init(self, key: PRNGKey) -> FAnoganState:
        learners = self.generator, self.critic, self.encoder
        networks = (
            learner.init(key) for learner, key in zip(learners, jax.random.split(key, 3), strict=True)
        )
        return FAnoganState(*networks, steps=jnp.int32(0))

    def step(self, state: FAnoganState, images: Images, key: PRNGKey) -> tuple[FAnoganState, Metrics]:
        """One update of the critic and maybe of the generator; later on, one of the encoder.

        The losses of networks that are not updated are 0, and so is `gradient_norm` without the critic's.
        """
        in_gan = state.steps < self.gan_steps
        state, metrics = lax.cond(in_gan, self._train_gan, self._train_encoder, state, images, key)
        return replace(state, steps=state.steps + 1), metrics

    def begin(self, state: FAnoganState, image: Image) -> Image:
        return self._repeat(state, state.encoder.weights, image[None])[0]

    def features(self, state: FAnoganState, image: Image) -> Float[Array, " f"]:
        """The activations of the critic's last convolution."""
        return self.critic.apply(state.critic.weights, image[None])[0][0]

    def judge(self, weights: Any, images: Images) -> Float[Array, " b"]:
        """What a critic of these weights says of each image: high where it looks real."""
        _, values = self.critic.apply(weights, images)
        return values[:, 0]

    def critic_loss(
        self, weights: Any, real: Images, made: Images, shares: Float[Array, " b"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The critic's loss, and the mean norm of its gradient, which the penalty draws towards 1.

        Args:
            weights: the critic's.
            real: true images.
            made: generated ones.
            shares: in [0, 1], of the true image in each mixture at which the gradient is taken.
        """
        shares = shares[:, None, None, None]
        norms = gradient_norms(lambda x: self.judge(weights, x), shares * real + (1 - shares) * made)
        penalty = self.training.gradient_penalty * jnp.mean((norms - 1) ** 2)
        loss = jnp.mean(self.judge(weights, made)) - jnp.mean(self.judge(weights, real)) + penalty
        return loss, jnp.mean(norms)

    def _train_gan(self, state: FAnoganState, images: Images, key: PRNGKey) -> tuple[FAnoganState, Metrics]:
        critic_key, share_key, generator_key = jax.random.split(key, 3)
        made, _ = self._generate(state.generator.weights, state.generator, critic_key, len(images))
        shares = jax.random.uniform(share_key, (len(images),))
        (c_loss, norm), gradient = jax.value_and_grad(self.critic_loss, has_aux=True)(
            state.critic.weights, images, made, shares
        )
        critic = self.critic.update(state.critic, gradient)

        def generator_loss(weights: Any) -> tuple[Float[Array, ""], Any]:
            made, averages = self._generate(weights, state.generator, generator_key, len(images))
            return -jnp.mean(self.judge(critic.weights, made)), averages

        def update(generator: Learned) -> tuple[Learned, Float[Array, ""]]:
            (loss, averages), gradient = jax.value_and_grad(generator_loss, has_aux=True)(generator.weights)
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
        seen, _ = self.critic.apply(state.critic.weights, images)

        def loss(weights: Any) -> Float[Array, ""]:
            repeated = self._repeat(state, weights, images)
            seen_again, _ = self.critic.apply(state.critic.weights, repeated)
            return jnp.mean((images - repeated) ** 2) + jnp.mean((seen - seen_again) ** 2)

        value, gradient = jax.value_and_grad(loss)(state.encoder.weights)
        encoder = self.encoder.update(state.encoder, gradient)
        return replace(state, encoder=encoder), _metrics(encoder_loss=value)

    def _generate(self, weights: Any, generator: Learned, key: PRNGKey, count: int) -> tuple[Images, Any]:
        """Images of random latent vectors, and the running averages after them."""
        latents = jax.random.normal(key, (count, self.latent_size))
        return self.generator.train(weights, generator.averages, latents)

    def _repeat(self, state: FAnoganState, encoder: Any, images: Images) -> Images:
        _, latents = self.encoder.apply(encoder, images)
        generator = state.generator
        return self.generator.apply(generator.weights, latents, averages=generator.averages)


def gradient_norms(judge: Callable[[Images], Float[Array, " b"]], images: Images) -> Float[Array, " b"]:
    """The Euclidean norm of the gradient of each image's value by the image.

    `judge` gives a value for each image that depends on no other image.
    """
    gradients = jax.grad(lambda x: jnp.sum(judge(x)))(images)
    # The root's own gradient at 0 is not a number.
    return jnp.sqrt(jnp.sum(gradients**2, axis=(1, 2, 3)) + 1e-12)


def _metrics(**computed: Float[Array, ""]) -> Metrics:
    """These, and 0 for each of the others: both parts of the training have the same."""
    names = ("critic_loss", "gradient_norm", "generator_loss", "encoder_loss")
    return {name: jnp.float32(0) for name in names} | computed
