"""The methods that `--method` names, one file each."""

from i3ad_jax.config import Config
from i3ad_jax.errors import InputError
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.method import Method

METHODS: dict[str, type[Method]] = {"i3ad": I3AD}


def build(config: Config) -> Method:
    """The method that `config` names, with its networks.

    Raises:
        InputError: the method is unknown, or cannot work with these settings.
    """
    if config.method not in METHODS:
        raise InputError(f"--method {config.method}: unknown; one of {', '.join(METHODS)}")
    return METHODS[config.method](config)
