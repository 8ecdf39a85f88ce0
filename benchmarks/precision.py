"""Arithmetic of a GPU's tensor cores in both frameworks: the rounding of float32 products."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

# By the name in the tables: the type that the networks compute in, and JAX's precision of float32
# products. In bfloat16 that is JAX's default, as users have it; SSIM itself asks for full
# precision.
PRECISIONS = {
    "bfloat16": ("bfloat16", None),
    "tf32": ("float32", "tensorfloat32"),
    "float32": ("float32", "float32"),
}


def network_dtype(dtype: str) -> str:
    """The type that networks compute in for a dtype of `PRECISIONS`."""
    return PRECISIONS[dtype][0]


@contextmanager
def arithmetic(dtype: str) -> Iterator[None]:
    """Within it both frameworks compile and compute with this dtype of `PRECISIONS`.

    TF32 is on for tf32 alone: by default JAX uses it in float32 too, and PyTorch in convolutions.
    """
    import torch  # benchmarks.gpu_program does without

    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = dtype == "tf32"
    try:
        with jax.default_matmul_precision(PRECISIONS[dtype][1]):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
