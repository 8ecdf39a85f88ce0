"""`jit` is `jax.jit` with compiler options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.runtime.compiler import (
    DETERMINISTIC,
    VARIABLE,
    Determinism,
    compiler_options,
    is_deterministic,
    jit,
    options_for,
)


@pytest.mark.parametrize("optimise", [True, False])
def test_results_are_the_function_s_and_it_is_compiled_once(
    optimise: bool, compiled: list[str]
) -> None:
    @jit(optimise=optimise, static_argnames="times")
    def scaled(x: jax.Array, *, times: int) -> jax.Array:
        """Scale an array."""
        return times * jnp.sin(x)

    assert (scaled.__name__, scaled.__doc__) == ("scaled", "Scale an array.")
    x = jnp.arange(3.0)
    compiled.clear()
    first = scaled(x, times=3)
    assert compiled
    np.testing.assert_allclose(first, 3 * np.sin(np.arange(3.0)), rtol=1e-6)
    compiled.clear()
    np.testing.assert_array_equal(scaled(x, times=3), first)
    assert not compiled


def test_options_are_accepted_by_the_compiler() -> None:
    assert jax.jit(lambda: 1, compiler_options=compiler_options())() == 1


def test_determinism_is_options_for_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    before = options_for("cpu")
    Determinism().apply()
    assert options_for("gpu") == {}
    Determinism(deterministic=True).apply()
    assert options_for("gpu") == DETERMINISTIC
    assert options_for("cpu") == before
    assert is_deterministic()  # as every CPU


def test_xla_knows_the_options_for_gpus() -> None:
    """XLA's compiler for CPUs knows them too, and refuses other names."""
    assert jax.jit(lambda: 1, compiler_options=DETERMINISTIC)() == 1
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option"):
        jax.jit(lambda: 2, compiler_options={"xla_gpu_deterministic": True})()
