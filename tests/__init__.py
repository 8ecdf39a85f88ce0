"""Tests of the package, of its benchmarks and of its documentation.

jaxtyping imports this package alone before it applies `tests.support.typechecker.check`.
"""

from .support import typechecker as typechecker
