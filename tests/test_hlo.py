"""Kernels of a small optimised program, against figures by hand."""

import pytest

from benchmarks.hlo import Program, kinds

TEXT = """\
HloModule jit_loop, is_scheduled=true

%to_bf16 (p.1: f32[3,3,4,8]) -> bf16[3,3,4,8] {
  %p.1 = f32[3,3,4,8]{3,2,1,0} parameter(0)
  ROOT %convert.1 = bf16[3,3,4,8]{3,2,1,0} convert(%p.1)
}

%gate (p.2: bf16[2,6,6,8]) -> bf16[2,6,6,4] {
  %p.2 = bf16[2,6,6,8]{3,2,1,0} parameter(0)
  %slice.1 = bf16[2,6,6,4]{3,2,1,0} slice(%p.2), slice={[0:2], [0:6], [0:6], [0:4]}
  ROOT %tanh.1 = bf16[2,6,6,4]{3,2,1,0} tanh(%slice.1)
}

%windows (p.3: f32[7,5], p.4: f32[5,3]) -> f32[7,3] {
  %p.3 = f32[7,5]{1,0} parameter(0)
  %p.4 = f32[5,3]{1,0} parameter(1)
  ROOT %dot.1 = f32[7,3]{1,0} dot(%p.3, %p.4), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}, operand_precision={highest,highest}
}

%inner (q: (s32[], f32[7,3])) -> (s32[], f32[7,3]) {
  %q = (s32[], f32[7,3]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%q), index=0
  %m = f32[7,3]{1,0} get-tuple-element(%q), index=1
  %twice = f32[7,3]{1,0} add(%m, %m)
  ROOT %t = (s32[], f32[7,3]{1,0}) tuple(%i, %twice)
}

%body (c: (s32[], bf16[2,6,6,4], f32[3,3,4,8], f32[7,5])) -> (s32[], bf16[2,6,6,4], f32[3,3,4,8]) {
  %c = (s32[], bf16[2,6,6,4]{3,2,1,0}, f32[3,3,4,8]{3,2,1,0}) parameter(0)
  %x = bf16[2,6,6,4]{3,2,1,0} get-tuple-element(%c), index=1
  %w = f32[3,3,4,8]{3,2,1,0} get-tuple-element(%c), index=2
  %y = f32[7,5]{1,0} get-tuple-element(%c), index=3
  %cast = bf16[3,3,4,8]{3,2,1,0} fusion(%w), kind=kLoop, calls=%to_bf16
  %conv = (bf16[2,6,6,8]{3,2,1,0}, u8[0]{0}) custom-call(%x, %cast), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f, \
custom_call_target="__cudnn$convForward", metadata={op_name="jit(loop)/conv"}
  %z = bf16[2,6,6,8]{3,2,1,0} get-tuple-element(%conv), index=0
  %gated = bf16[2,6,6,4]{3,2,1,0} fusion(%z), kind=kLoop, calls=%gate
  %rows = f32[5,3]{1,0} constant({...})
  %mean = f32[7,3]{1,0} fusion(%y, %rows), kind=kCustom, calls=%windows
  %start = (s32[], f32[7,3]{1,0}) tuple(%i.2, %mean)
  %while.1 = (s32[], f32[7,3]{1,0}) while(%start), condition=%less, body=%inner, \
backend_config={"known_trip_count":{"n":"5"}}
  ROOT %out = (s32[], bf16[2,6,6,4]{3,2,1,0}, f32[3,3,4,8]{3,2,1,0}) tuple(%i.3, %gated, %w)
}

ENTRY %main (a: f32[3,3,4,8]) -> bf16[2,6,6,4] {
  %a = f32[3,3,4,8]{3,2,1,0} parameter(0)
  %init = (s32[], bf16[2,6,6,4]{3,2,1,0}, f32[3,3,4,8]{3,2,1,0}) tuple(%zero, %image, %a)
  %while.2 = (s32[], bf16[2,6,6,4]{3,2,1,0}, f32[3,3,4,8]{3,2,1,0}) while(%init), \
condition=%less, body=%body, backend_config={"known_trip_count":{"n":"34"}}
  ROOT %result = bf16[2,6,6,4]{3,2,1,0} get-tuple-element(%while.2), index=1
}
"""


def test_kernels_of_the_loop() -> None:
    loop = Program(TEXT).main_loop()
    assert loop.passes == 34
    assert kinds(loop.kernels) == {
        "add": 5,
        "conversion": 1,
        "convolution": 1,
        "fusion": 1,
        "product": 1,
    }
    by_kind = {kernel.kind: kernel for kernel in loop.kernels}
    weights, pixels = 3 * 3 * 4 * 8, 2 * 6 * 6
    assert by_kind["conversion"].moved == weights * (4 + 2)
    assert by_kind["convolution"].moved == 2 * (pixels * 4 + weights + pixels * 8)
    assert by_kind["convolution"].operations == 2 * pixels * weights
    assert by_kind["convolution"].source == "jit(loop)/conv"
    assert by_kind["fusion"].moved == 2 * pixels * (8 + 4)
    assert by_kind["product"].operations == 2 * 7 * 5 * 3
    assert [kernel.kind for kernel in loop.kernels if kernel.exact] == ["product"]
    # An array that is two operands counts twice.
    assert by_kind["add"][1:3] == (5, 4 * 7 * 3 * 3)


@pytest.mark.parametrize(
    ("target", "labels", "shapes"),
    [
        ("convBackwardFilter", "b01f_01io->b01f", ("f32[3,3,4,8]", "f32[2,6,6,4]", "f32[2,6,6,8]")),
        ("convBackwardInput", "b01f_01io->b01f", ("f32[2,6,6,4]", "f32[2,6,6,8]", "f32[3,3,4,8]")),
    ],
)
def test_gradients_take_as_many_operations(
    target: str, labels: str, shapes: tuple[str, ...]
) -> None:
    result, x, y = shapes
    text = f"""\
ENTRY %main (x: {x}, y: {y}) -> {result} {{
  %x = {x}{{3,2,1,0}} parameter(0)
  %y = {y}{{3,2,1,0}} parameter(1)
  ROOT %g = {result}{{3,2,1,0}} custom-call(%x, %y), dim_labels={labels}, \
custom_call_target="__cudnn${target}"
}}
"""
    (kernel,) = Program(text).kernels("main")
    assert kernel.operations == 2 * (2 * 6 * 6) * (3 * 3 * 4 * 8)


def test_collectives_and_the_kernels_that_hide_them() -> None:
    text = """\
ENTRY %main (x: bf16[100], y: f32[3]) -> bf16[100] {
  %x = bf16[100]{0} parameter(0)
  %y = f32[3]{0} parameter(1)
  %start.1 = bf16[100]{0} all-reduce-start(%x), channel_id=1, to_apply=%add
  %start.2 = (f32[3]{0}, f32[24]{0}) all-gather-start(%y), channel_id=2, dimensions={0}
  %first = f32[3]{0} add(%y, %y)
  %alias = f32[3]{0} bitcast(%first)
  %done.2 = f32[24]{0} all-gather-done(%start.2)
  %second = f32[3]{0} multiply(%y, %y)
  %done.1 = bf16[100]{0} all-reduce-done(%start.1)
  %now = (f32[2]{0}, bf16[4]{0}) all-to-all(%y, %x), channel_id=3, dimensions={0}
  ROOT %third = bf16[100]{0} negate(%done.1)
}
"""
    program = Program(text)
    found = [
        (kind, result, size, [kernel.kind for kernel in meanwhile])
        for kind, result, size, meanwhile in program.collectives()
    ]
    assert found == [
        ("all-reduce", "bf16[100]", 200, ["add", "multiply"]),
        ("all-gather", "f32[24]", 96, ["add"]),
        ("all-to-all", "(f32[2], bf16[4])", 16, []),
    ]
    assert [kernel.kind for kernel in program.kernels("main")] == ["add", "multiply", "negate"]
