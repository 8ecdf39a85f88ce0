"""The methods that `--method` names, one file each."""

from collections.abc import Callable

from i3ad_jax.config import Config
from i3ad_jax.errors import InputError
from i3ad_jax.methods.aegan import AeganModel
from i3ad_jax.methods.anogan import AnoganModel
from i3ad_jax.methods.autoencoder import l2_ae, ssim_ae, unet
from i3ad_jax.methods.f_anogan import FAnoganModel
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.method import Method
from i3ad_jax.methods.pca import PcaModel
from i3ad_jax.methods.projection import l2_ae_projection, ssim_ae_projection
from i3ad_jax.methods.reconstruction import Model, Reconstruction

BASELINES: dict[str, Callable[[Config], Model]] = {
    "l2_ae": l2_ae,
    "ssim_ae": ssim_ae,
    "l2_ae_projection": l2_ae_projection,
    "ssim_ae_projection": ssim_ae_projection,
    "anogan": AnoganModel,
    "f_anogan": FAnoganModel,
    "aegan": AeganModel,
    "unet": unet,
    "pca": PcaModel,
}
METHODS = ("i3ad", *BASELINES)
# Methods that take the weights of another one's run.
WEIGHTS_OF = {"l2_ae_projection": "l2_ae", "ssim_ae_projection": "ssim_ae"}
# Methods whose training has parts that share its steps: a longer one is another one from early on.
TRAINED_IN_PARTS = ("f_anogan",)


def build(config: Config) -> Method:
    """The method that `config` names, with its networks.

    Raises:
        InputError: the method is unknown, or cannot work with these settings.
    """
    if config.method not in METHODS:
        raise InputError(f"--method {config.method}: unknown; one of {', '.join(METHODS)}")
    if config.method == "i3ad":
        return I3AD(config)
    return Reconstruction(config, BASELINES[config.method](config))
