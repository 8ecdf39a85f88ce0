"""`anogan`: a GAN of normal images, and a search for the latent vector whose image is the nearest."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from i3ad_jax.config import Config
from i3ad_jax.methods.method import Metrics, check_image_size
from i3ad_jax.methods.reconstruction import Model
from i3ad_jax.nn.dcgan import MIN_SIZE, SIZE_MULTIPLE, Generator, ImageEncoder
from i3ad_jax.shapes import Image, Images, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Learned:
    """What a network has learned: weights, running averages of its batch norms, and its Adam moments."""

    weights: Any
    averages: Any
    moments: optax.OptState


class Learner:
    """A network of `nn.dcgan` and its optimiser."""

    def __init__(
        self, network: Generator | ImageEncoder, adam: optax.GradientTransformation, example: tuple[int, ...]
    ) -> None:
        """`example` is the shape of one input."""
        self.network, self.adam, self.example = network, adam, example

    def init(self, key: PRNGKey) -> Learned:
        """Fresh weights. Can be jitted."""
        variables = self.network.init(key, jnp.zeros((1, *self.example)))
        weights = variables["params"]
        return Learned(weights, variables.get("batch_stats", {}), self.adam.init(weights))

    def apply(self, weights: Any, inputs: Float[Array, "b ..."], *, averages: Any = None) -> Any:
        """The network's output, each input's for itself: batch norms go by their running averages."""
        return self.network.apply({"params": weights, "batch_stats": averages or {}}, inputs)

    def train(self, weights: Any, averages: Any, inputs: Float[Array, "b ..."]) -> tuple[Any, Any]:
        """A generator's output, normalised by the batch, and the running averages after it."""
        variables = {"params": weights, "batch_stats": averages}
        outputs, changed = self.network.apply(variables, inputs, train=True, mutable=["batch_stats"])
        return outputs, changed["batch_stats"]

    def update(self, learned: Learned, gradient: Any, *, averages: Any = None) -> Learned:
        """What is learned after one step of Adam, with these running averages."""
        updates, moments = self.adam.update(gradient, learned.moments)
        return Learned(optax.apply_updates(learned.weights, updates), averages or {}, moments)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AnoganState:
    """Both networks."""

    generator: Learned
    discriminator: Learned


class LatentSearch(NamedTuple):
    """Where the search for an image's latent vector stands.

    Attributes:
        latent: the vector.
        moments: of the Adam that moves it.
        seen: the discriminator's features of the image, which stay the same.
    """

    latent: Float[Array, " z"]
    moments: optax.OptState
    seen: Float[Array, " f"]


class AnoganModel(Model):
    """A `Model` whose reconstruction is what a generator makes of a latent vector found by gradient descent.

    Sources: Schlegl et al. 2017, section 2; the networks and their training, Radford et al. 2016. Latent
    vectors are standard normal in training; the search may leave what is probable.
    """

    def __init__(self, config: Config) -> None:
        """Raises InputError where the networks cannot make images of the wanted size."""
        network, training, search = config.network, config.training, config.search
        size = check_image_size(config, multiple=SIZE_MULTIPLE, smallest=MIN_SIZE)
        self.latent_size, self.feature_weight = network.latent_size, search.feature_weight
        self.iterations = search.latent_steps
        self.search_adam = optax.adam(search.latent_learning_rate)
        betas = training.adam_beta1, training.adam_beta2
        self.generator = Learner(
            Generator(network.width, size),
            optax.adam(training.generator_learning_rate, *betas),
            (network.latent_size,),
        )
        self.discriminator = Learner(
            ImageEncoder(network.width, outputs=1),
            optax.adam(training.discriminator_learning_rate, *betas),
            (size, size, 3),
        )

    def init(self, key: PRNGKey) -> AnoganState:
        generator_key, discriminator_key = jax.random.split(key)
        return AnoganState(self.generator.init(generator_key), self.discriminator.init(discriminator_key))

    def step(self, state: AnoganState, images: Images, key: PRNGKey) -> tuple[AnoganState, Metrics]:
        """One update of the discriminator, then one of the generator, on the same made-up images."""
        generator, discriminator = state.generator, state.discriminator
        latents = jax.random.normal(key, (len(images), self.latent_size))
        made, backward, averages = jax.vjp(
            lambda weights: self.generator.train(weights, generator.averages, latents),
            generator.weights,
            has_aux=True,
        )

        def discriminator_loss(weights: Any) -> Float[Array, ""]:
            (_, real), (_, fake) = (self.discriminator.apply(weights, x) for x in (images, made))
            # Binary cross entropy, from logits.
            return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))

        d_loss, gradient = jax.value_and_grad(discriminator_loss)(discriminator.weights)
        discriminator = self.discriminator.update(discriminator, gradient)

        def generator_loss(made: Images) -> Float[Array, ""]:
            _, fake = self.discriminator.apply(discriminator.weights, made)
            return jnp.mean(jax.nn.softplus(-fake))

        # The generator ran once, above; what is left of its update is the backward pass.
        g_loss, by_made = jax.value_and_grad(generator_loss)(made)
        (gradient,) = backward(by_made)
        generator = self.generator.update(generator, gradient, averages=averages)
        return AnoganState(generator, discriminator), {"generator_loss": g_loss, "discriminator_loss": d_loss}

    def begin(self, state: AnoganState, image: Image) -> LatentSearch:
        latent = first_latent(self.latent_size)
        return LatentSearch(latent, self.search_adam.init(latent), self._see(state, image))

    def improve(self, state: AnoganState, image: Image, search: LatentSearch) -> LatentSearch:
        gradient = jax.grad(self.search_loss, argnums=2)(state, image, search.latent, search.seen)
        updates, moments = self.search_adam.update(gradient, search.moments)
        latent: Any = optax.apply_updates(search.latent, updates)
        return LatentSearch(latent, moments, search.seen)

    def reconstruction(self, state: AnoganState, search: LatentSearch) -> Image:
        return self.generate(state, search.latent)

    def generate(self, state: AnoganState, latent: Float[Array, " z"]) -> Image:
        """The image of a latent vector, in [-1, 1]."""
        return self.generator.apply(state.generator.weights, latent[None], averages=state.generator.averages)[
            0
        ]

    def search_loss(
        self, state: AnoganState, image: Image, latent: Float[Array, " z"], seen: Float[Array, " f"]
    ) -> Float[Array, ""]:
        """What the search makes small: Schlegl et al. 2017, equations 1, 4 and 5.

        Args:
            state: both networks.
            image: to be found.
            latent: the vector whose image is compared with it.
            seen: the discriminator's features of `image`.
        """
        made = self.generate(state, latent)
        residual = jnp.sum(jnp.abs(image - made))
        discrimination = jnp.sum(jnp.abs(seen - self._see(state, made)))
        return (1 - self.feature_weight) * residual + self.feature_weight * discrimination

    def _see(self, state: AnoganState, image: Image) -> Float[Array, " f"]:
        return self.discriminator.apply(state.discriminator.weights, image[None])[0][0]


def first_latent(size: int) -> Float[Array, " z"]:
    """Where every search starts: the same for all images, so that an image's maps depend on nothing else."""
    return jax.random.normal(jax.random.key(0), (size,))
