# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""`anogan`: a GAN of normal images, and a search for the latent vector of the nearest image."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from i3ad_jax.methods.method import AdversarialSettings, Batch, Metrics, initial
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.nn.dcgan import MIN_SIZE, SIZE_MULTIPLE, Generator, ImageEncoder
from i3ad_jax.settings import Settings, setting
from i3ad_jax.shapes import Image, Images, PRNGKey


@dataclass(frozen=True)
class LatentGanSettings(AdversarialSettings):
    """Networks and training of a GAN that makes images of latent vectors."""

    width: int = setting(64, minimum=1, maximum=1024)
    """Channels of the networks' first layer."""
    latent_size: int = setting(100, minimum=1, maximum=65_536)
    """Length of the vectors from which images are generated."""


@dataclass(frozen=True)
class LatentSearchSettings(Settings):
    """The search for a latent vector."""

    latent_steps: int = setting(500, minimum=1, maximum=1_000_000)
    """Gradient steps on the latent vector (paper: 500)."""
    latent_learning_rate: float = setting(0.05, above=0, maximum=100)
    """Adam's step size on the latent vector. Not in the paper."""
    feature_weight: float = setting(0.1, minimum=0, maximum=1)
    """Weight of the distance between discriminator features; the pixels' is 1 minus it (Schlegl et
    al. 2017)."""


# Not in the paper: Radford et al. 2016.
_PAPER = LatentGanSettings(
    20_000, batch_size=64, generator_learning_rate=2e-4, discriminator_learning_rate=2e-4
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Learned:
    """Learned state of a network: weights, batch-norm averages and Adam moments.

    The averages are the running averages of its batch norms.
    """

    weights: Any
    averages: Any
    moments: optax.OptState


@dataclass(frozen=True)
class Learner:
    """A network of `nn.dcgan` and its optimiser.

    Attributes:
        network: from `nn.dcgan`.
        adam: its optimiser.
        example: the shape of one input.
    """

    network: Generator | ImageEncoder
    adam: optax.GradientTransformation
    example: tuple[int, ...]

    def init(self, key: PRNGKey) -> Learned:
        """Fresh weights. Can be jitted."""
        variables = initial(key, self.network, jnp.zeros((1, *self.example)))
        weights = variables["params"]
        return Learned(weights, variables.get("batch_stats", {}), self.adam.init(weights))

    def apply(self, weights: Any, inputs: Float[Array, "b ..."], *, averages: Any = None) -> Any:
        """Return the network's output of each input by itself: batch norms use running averages."""
        return self.network.apply({"params": weights, "batch_stats": averages or {}}, inputs)

    def train(self, weights: Any, averages: Any, inputs: Float[Array, "b ..."]) -> tuple[Any, Any]:
        """A generator's output, normalised by the batch, and the running averages after it."""
        variables = {"params": weights, "batch_stats": averages}
        found: tuple[Any, Any] = self.network.apply(
            variables, inputs, train=True, mutable=["batch_stats"]
        )
        outputs, changed = found
        return outputs, changed["batch_stats"]

    def update(self, learned: Learned, gradient: Any, *, averages: Any = None) -> Learned:
        """Return the weights after one step of Adam, with these running averages."""
        updates, moments = self.adam.update(gradient, learned.moments)
        return Learned(optax.apply_updates(learned.weights, updates), averages or {}, moments)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AnoganState:
    """Both networks."""

    generator: Learned
    discriminator: Learned


class LatentSearch(NamedTuple):
    """State of the search for an image's latent vector.

    Attributes:
        latent: the vector.
        moments: of the Adam that moves it.
        features: the discriminator's, of the image, which stay the same.
    """

    latent: Float[Array, " z"]
    moments: optax.OptState
    features: Float[Array, " f"]


@dataclass(frozen=True)
class Anogan(ReconstructionMethod):
    """The reconstruction is what a generator makes of a latent vector found by gradient descent.

    Sources: Schlegl et al. 2017, section 2; the networks and their training, Radford et al. 2016.
    Latent vectors are standard normal in training; the search may leave what is probable.
    """

    training: LatentGanSettings
    test: LatentSearchSettings

    name: ClassVar[str] = "anogan"
    size_multiple: ClassVar[int] = SIZE_MULTIPLE
    smallest_size: ClassVar[int] = MIN_SIZE
    presets: ClassVar = {
        "quick": (
            LatentGanSettings(
                1500, batch_size=16, width=16, latent_size=32, generator_learning_rate=1e-3
            ),
            LatentSearchSettings(),
        ),
        "paper": (_PAPER, LatentSearchSettings()),
        "paper_small": (
            replace(_PAPER, steps=10_000, batch_size=16, width=16),
            LatentSearchSettings(),
        ),
    }

    @property
    def iterations(self) -> int:
        """Gradient steps."""
        return self.test.latent_steps

    @property
    def generator(self) -> Learner:
        """Latent vectors to images."""
        settings = self.training
        adam = optax.adam(
            settings.generator_learning_rate, settings.adam_beta1, settings.adam_beta2
        )
        return Learner(Generator(settings.width, self.image_size), adam, (settings.latent_size,))

    @property
    def discriminator(self) -> Learner:
        """Images to a logit."""
        settings, size = self.training, self.image_size
        adam = optax.adam(
            settings.discriminator_learning_rate, settings.adam_beta1, settings.adam_beta2
        )
        return Learner(ImageEncoder(settings.width, outputs=1), adam, (size, size, 3))

    @property
    def _search_adam(self) -> optax.GradientTransformation:
        return optax.adam(self.test.latent_learning_rate)

    def init(self, key: PRNGKey) -> AnoganState:
        """Fresh weights and optimisers."""
        generator_key, discriminator_key = jax.random.split(key)
        return AnoganState(
            self.generator.init(generator_key), self.discriminator.init(discriminator_key)
        )

    def step(self, state: AnoganState, batch: Batch, key: PRNGKey) -> tuple[AnoganState, Metrics]:
        """Update the discriminator, then the generator, on the same generated images."""
        images = batch.images
        generator, discriminator = state.generator, state.discriminator
        latents = jax.random.normal(key, (len(images), self.training.latent_size))

        def generate(weights: Any) -> tuple[Images, Any]:
            return self.generator.train(weights, generator.averages, latents)

        generated, backward, averages = jax.vjp(generate, generator.weights, has_aux=True)

        def discriminator_loss(weights: Any) -> Float[Array, ""]:
            (_, real), (_, fake) = (
                self.discriminator.apply(weights, x) for x in (images, generated)
            )
            # Binary cross entropy, from logits.
            return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))

        d_loss, gradient = jax.value_and_grad(discriminator_loss)(discriminator.weights)
        discriminator = self.discriminator.update(discriminator, gradient)

        def generator_loss(generated: Images) -> Float[Array, ""]:
            _, fake = self.discriminator.apply(discriminator.weights, generated)
            return jnp.mean(jax.nn.softplus(-fake))

        # The generator ran once, above; what is left of its update is the backward pass.
        g_loss, by_output = jax.value_and_grad(generator_loss)(generated)
        (gradient,) = backward(by_output)
        generator = self.generator.update(generator, gradient, averages=averages)
        return AnoganState(generator, discriminator), {
            "generator_loss": g_loss,
            "discriminator_loss": d_loss,
        }

    def begin(self, state: AnoganState, image: Image) -> LatentSearch:
        """The same latent vector for every image."""
        latent = first_latent(self.training.latent_size)
        return LatentSearch(latent, self._search_adam.init(latent), self._features(state, image))

    def improve(self, state: AnoganState, image: Image, search: LatentSearch) -> LatentSearch:
        """One gradient step."""
        _, gradient = jax.value_and_grad(self.search_loss, argnums=2)(
            state, image, search.latent, search.features
        )
        updates, moments = self._search_adam.update(gradient, search.moments)
        latent: Any = optax.apply_updates(search.latent, updates)
        return LatentSearch(latent, moments, search.features)

    def reconstruction(self, state: AnoganState, search: LatentSearch) -> Image:
        """The image of the latent vector."""
        return self.generate(state, search.latent)

    def generate(self, state: AnoganState, latent: Float[Array, " z"]) -> Image:
        """The image of a latent vector, in [-1, 1]."""
        return self.generator.apply(
            state.generator.weights, latent[None], averages=state.generator.averages
        )[0]

    def search_loss(
        self,
        state: AnoganState,
        image: Image,
        latent: Float[Array, " z"],
        features: Float[Array, " f"],
    ) -> Float[Array, ""]:
        """Loss that the search minimises: Schlegl et al. 2017, equations 1, 4 and 5.

        Args:
            state: both networks.
            image: to be found.
            latent: the vector whose image is compared with it.
            features: the discriminator's, of `image`.
        """
        generated, weight = self.generate(state, latent), self.test.feature_weight
        residual = jnp.sum(jnp.abs(image - generated))
        discrimination = jnp.sum(jnp.abs(features - self._features(state, generated)))
        return (1 - weight) * residual + weight * discrimination

    def _features(self, state: AnoganState, image: Image) -> Float[Array, " f"]:
        return self.discriminator.apply(state.discriminator.weights, image[None])[0][0]


def first_latent(size: int) -> Float[Array, " z"]:
    """Return the start of every search.

    It is the same for all images, so that an image's maps depend on nothing else.
    """
    return jax.random.normal(jax.random.key(0), (size,))
