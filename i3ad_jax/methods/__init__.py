# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""The methods that `--method` names, one file each."""

from i3ad_jax.errors import InputError
from i3ad_jax.methods.aegan import Aegan
from i3ad_jax.methods.anogan import Anogan
from i3ad_jax.methods.autoencoder import L2Autoencoder, SsimAutoencoder, UNetMethod
from i3ad_jax.methods.f_anogan import FAnogan
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.method import Method
from i3ad_jax.methods.pca import Pca
from i3ad_jax.methods.projection import L2Projection, SsimProjection

_ALL: tuple[type[Method], ...] = (
    *(I3AD, L2Autoencoder, SsimAutoencoder, L2Projection, SsimProjection),
    *(Anogan, FAnogan, Aegan, UNetMethod, Pca),
)
METHODS: dict[str, type[Method]] = {method.name: method for method in _ALL}


def register_method(method: type[Method]) -> None:
    """Add a method of your own, for this process.

    Its runs can be loaded only where it is registered.

    Args:
        method: with a `name` and `presets`, of which "quick" is needed.

    Raises:
        InputError: there is such a method already, or it has no quick preset.
    """
    if method.name in METHODS:
        raise InputError(f"method {method.name}: is there already; choose another name")
    if "quick" not in method.presets:
        raise InputError(f"method {method.name}: needs the preset quick, from which others differ")
    METHODS[method.name] = method
