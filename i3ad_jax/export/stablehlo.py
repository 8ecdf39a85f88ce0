"""The program as StableHLO, by `jax.export`: one file for CPUs and NVIDIA GPUs, any batch size."""

from datetime import date, timedelta
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import UInt8

from i3ad_jax.detector import Detector
from i3ad_jax.export.parity import Differences
from i3ad_jax.export.program import Scored, scoring_program
from i3ad_jax.runtime.compiler import compiler_options, options_for

FILE = "program.stablehlo"
PLATFORMS = ("cpu", "cuda")
# Not the run's bits: that is several programs, and float64 at its end; this is one, whose
# multiplications and additions are fused elsewhere. Several times the largest differences seen,
# 1e-6 and 1e-4.
ALLOWED = Differences(plain=5e-6, calibrated=5e-4)
COMPATIBLE = timedelta(days=180)  # how long later versions of JAX promise to read the file


class StableHlo:
    """A detector's program in its serialised form.

    Attributes:
        content: of the file.
    """

    def __init__(self, detector: Detector) -> None:
        height, width = detector.preprocessing.size
        (number,) = export.symbolic_shape("n")
        images = jax.ShapeDtypeStruct((number, height, width, 3), jnp.uint8)
        exported = export.export(jax.jit(scoring_program(detector)), platforms=PLATFORMS)(images)
        self.content = bytes(exported.serialize())
        # As a reader of the file would have it.
        again = export.deserialize(bytearray(self.content))
        self._call = jax.jit(again.call, compiler_options=compiler_options())

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> Scored:
        """Return the results of the program in the file."""
        return self._call(images)

    @property
    def about(self) -> dict[str, Any]:
        """Return the properties of the file that a reader needs."""
        return {
            "file": FILE,
            "batch": "any number of images",
            "platforms": list(PLATFORMS),
            "jax_version": jax.__version__,
            "compiler_options": {name: options_for(name) for name in ("cpu", "gpu")},
            "readable_until": (date.today() + COMPATIBLE).isoformat(),
        }
