# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""I3AD in JAX: find defects by inpainting what looks wrong, again and again."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i3ad_jax.callbacks import to_mlflow, to_tensorboard
    from i3ad_jax.data.layouts import register_layout
    from i3ad_jax.detector import Detector, TrainingProgress
    from i3ad_jax.errors import InputError
    from i3ad_jax.estimator import AnomalyDetector
    from i3ad_jax.evaluation import Evaluation
    from i3ad_jax.methods import register_method
    from i3ad_jax.prediction import Prediction, Trace
    from i3ad_jax.scoring.maps import register_score

__version__ = "0.4.0"
__all__ = [
    "AnomalyDetector",
    "Detector",
    "Evaluation",
    "InputError",
    "Prediction",
    "Trace",
    "TrainingProgress",
    "__version__",
    "register_layout",
    "register_method",
    "register_score",
    "to_mlflow",
    "to_tensorboard",
]

_MODULES = {
    "AnomalyDetector": "estimator",
    "Detector": "detector",
    "Evaluation": "evaluation",
    "InputError": "errors",
    "Prediction": "prediction",
    "Trace": "prediction",
    "TrainingProgress": "detector",
    "register_layout": "data.layouts",
    "register_method": "methods",
    "register_score": "scoring.maps",
    "to_mlflow": "callbacks",
    "to_tensorboard": "callbacks",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: `import i3ad_jax` itself does not import JAX."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
