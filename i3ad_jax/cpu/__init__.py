"""Workarounds for XLA's CPU back end, one module each, behind one switch.

`switch` has the switch and says how to turn it off. Off, the networks are plain `lax` operations
with JAX's own gradients, of the same parameters and, within rounding, the same results: to see
whether a newer XLA still needs a workaround, measure both.

Each module names the upstream issue that would make it unnecessary. Workarounds of two kinds:

- for programs that are compiled for a CPU alone: `kernel_gradient`, `input_gradient`, `product`,
  `bias`, `eigen`, `space_to_depth`, `local_mean`. All other back ends get the plain operation, even
  if the program is traced on a CPU, as for an export;
- for every back end: `strided`, `gate`, which change what a network computes, not only its
  gradients. They were measured on CPUs alone; `benchmarks.gpu_program` shows what a GPU would run.
"""
