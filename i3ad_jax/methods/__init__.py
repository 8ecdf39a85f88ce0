"""The methods that `--method` names, one file each."""

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
