"""The program as ONNX, by jax2onnx: one image at a time, all iterations of the method's loop."""

import logging
import warnings
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jaxtyping import UInt8

from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError, optional_package
from i3ad_jax.export.parity import Differences
from i3ad_jax.export.primitives import simplified
from i3ad_jax.export.program import Scored, scoring_program

FILE = "model.onnx"
INPUT = "images"
OPSET = 23
ALLOWED = Differences(plain=1e-5, calibrated=1e-3)  # ONNX Runtime has kernels of its own


def check_packages() -> None:
    """Raise InputError unless the packages that make and run the program are installed."""
    for name in ("onnxruntime", "jax2onnx"):
        optional_package(name, f"--format onnx: needs {name}; pip install 'i3ad_jax[onnx]'")


class Onnx:
    """A detector's program in its serialised form.

    Attributes:
        content: of the file.

    Raises:
        InputError: the method's program cannot be converted.
    """

    def __init__(self, detector: Detector) -> None:
        import onnxruntime  # pyright: ignore[reportMissingImports]
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]

        if "loop" in detector.config.test.flat():  # ONNX has no queue
            plan = detector.plan
            detector = replace(
                detector, plan=plan.with_asked(plan.asked.with_settings({"loop": "fixed"}))
            )
        height, width = detector.preprocessing.size
        image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)
        program, shapes = jax.make_jaxpr(scoring_program(detector), return_shape=True)(image)
        plain = simplified(program)
        leaves, self._tree = jax.tree.flatten_with_path(shapes)
        names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
        # Its plug-ins for libraries that are not used here may fail to load, and say so at length.
        logging.getLogger("jax2onnx").setLevel(logging.CRITICAL + 1)
        try:
            with warnings.catch_warnings(action="ignore"):
                model: Any = to_onnx(
                    lambda images: jaxpr_as_fun(plain)(images),
                    inputs=[image],
                    model_name=detector.config.method,
                    opset=OPSET,
                    input_names=[INPUT],
                    output_names=names,
                )
            self.content: bytes = model.SerializeToString()
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            self._session: Any = onnxruntime.InferenceSession(
                self.content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # converters raise nearly any type
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(
                f"--format onnx: the program of {detector.config.method} cannot be converted"
                f" ({reason}); --format stablehlo takes it"
            ) from error

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> Scored:
        """Return the results of ONNX Runtime by the program in the file, image by image."""
        each = [self._session.run(None, {INPUT: image[None]}) for image in images]
        return jax.tree.unflatten(self._tree, [np.concatenate(x) for x in zip(*each, strict=True)])

    @property
    def about(self) -> dict[str, Any]:
        """Return the properties of the file that a reader needs."""
        names = [f"{part}.NAME" for part in ("scores", "anomalous", "maps")]
        return {
            "file": FILE,
            "batch": "one image",
            "opset": OPSET,
            "input": INPUT,
            "outputs": names,
        }
