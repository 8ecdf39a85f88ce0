"""Eigen's convolutions instead of YNNPACK's, by an option of XLA's compiler.

With them a generator is 1.3 times as fast (benchmarks/README.md), and YNNPACK can crash or hang.
`runtime.compiler.jit` compiles every program of the package with the option.

Upstream: jax-ml/jax#39257, the crash, which jaxlib 0.10.2 and 0.11.0 have (closed). For the speed
no issue is known.
"""

from functools import cache

import jax


@cache
def eigen_options() -> dict[str, str]:
    """Return the compiler options; none where jaxlib does not know them."""
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options
