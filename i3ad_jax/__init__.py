"""I3AD in JAX: find defects by inpainting what looks wrong, again and again."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i3ad_jax.detector import Detector, TrainingProgress
    from i3ad_jax.errors import InputError
    from i3ad_jax.estimator import AnomalyDetector
    from i3ad_jax.evaluation import Evaluation
    from i3ad_jax.prediction import Prediction, Trace

__version__ = "0.1.0"
__all__ = [
    "AnomalyDetector",
    "Detector",
    "Evaluation",
    "InputError",
    "Prediction",
    "Trace",
    "TrainingProgress",
    "__version__",
]

_MODULES = {
    "AnomalyDetector": "estimator",
    "Detector": "detector",
    "Evaluation": "evaluation",
    "InputError": "errors",
    "Prediction": "prediction",
    "Trace": "prediction",
    "TrainingProgress": "detector",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: `import i3ad_jax` itself does not import JAX."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
