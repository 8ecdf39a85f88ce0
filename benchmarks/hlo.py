"""Kernels of a program that XLA optimised for a GPU, read from its text."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

BYTES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}
NO_KERNEL = frozenset(
    {
        *("parameter", "constant", "iota", "tuple", "get-tuple-element", "bitcast"),
        *("copy-done", "async-done", "after-all", "opt-barrier"),
    }
)
EXCHANGE = re.compile(
    r"(all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)(?:-(start|done))?"
)
HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
INSTRUCTION = re.compile(r"\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")
SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
CALLED = re.compile(r"(?:calls|body|to_apply|true_computation|false_computation)=%([\w.\-]+)")


class Instruction(NamedTuple):
    """A line of the program."""

    name: str
    shape: str
    operation: str
    line: str
    operands: tuple[str, ...]


class Kernel(NamedTuple):
    """A kernel of a computation.

    Attributes:
        kind: "convolution", "product", "attention", "fusion", "conversion" (of types alone),
            "broadcast" (nothing but), "copy" or the operation's own name.
        times: it runs in a call of the computation: more than once in a loop.
        moved: bytes of all its operands and results, each once.
        operations: multiplications and additions of a convolution or product, else 0.
        exact: whether it multiplies in full float32, without tensor cores.
        source: name of the JAX operation.
    """

    kind: str
    times: int
    moved: int
    operations: float
    exact: bool
    source: str


class Collective(NamedTuple):
    """An exchange between cards.

    Attributes:
        kind: its operation, such as "all-reduce".
        result: shape of what each card gets, such as "bf16[5945600]".
        size: bytes of it.
        meanwhile: kernels that are scheduled between its start and its end; none if all wait.
    """

    kind: str
    result: str
    size: int
    meanwhile: Sequence[Kernel]


class Loop(NamedTuple):
    """The outermost loop with the most kernels: number of passes, kernels of a pass."""

    passes: int
    kernels: Sequence[Kernel]


class Program:
    """An optimised program.

    Attributes:
        text: as the compiled function's `as_text` gives it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._computations, self._entry = _computations(text)
        self._shapes = {
            instruction.name: instruction.shape
            for computation in self._computations.values()
            for instruction in computation
        }

    def main_loop(self) -> Loop:
        """Return the outermost loop with the most kernels."""
        loops = [
            Loop(_trips(instruction), list(self.kernels(_called(instruction)[0])))
            for instruction in self._computations[self._entry]
            if instruction.operation == "while"
        ]
        return max(loops, key=lambda loop: len(loop.kernels))

    def collectives(self) -> Iterator[Collective]:
        """The exchanges between cards in the whole program; one in a loop counts once."""
        for computation in self._computations.values():
            for first, instruction in enumerate(computation):
                match = EXCHANGE.fullmatch(instruction.operation)
                if match is None or match.group(2) == "done":
                    continue
                last = first
                if match.group(2) == "start":
                    last = next(
                        i
                        for i, x in enumerate(computation)
                        if instruction.name in x.operands[:1]
                        and x.operation == f"{match.group(1)}-done"
                    )
                result = re.sub(r"\{[^}]*\}", "", computation[last].shape)
                meanwhile = list(self._kernels(computation[first + 1 : last]))
                yield Collective(match.group(1), result, _size(result), meanwhile)

    def kernels(self, computation: str) -> Iterator[Kernel]:
        """The kernels of a computation and of all that it calls, without collectives."""
        return self._kernels(self._computations[computation])

    def _kernels(self, instructions: Sequence[Instruction]) -> Iterator[Kernel]:
        for instruction in instructions:
            if instruction.operation in ("while", "call", "conditional"):
                times = _trips(instruction)
                for called in _called(instruction):
                    for kernel in self.kernels(called):
                        yield kernel._replace(times=times * kernel.times)
            elif not _is_exchange(instruction) and instruction.operation not in NO_KERNEL:
                yield self._kernel(instruction)

    def _kernel(self, instruction: Instruction) -> Kernel:
        inside = self._computations[_called(instruction)[0]] if _is_fusion(instruction) else []
        # A product may be a fusion of its own, with conversions before and after it.
        multiplies = next((x for x in inside if x.operation in ("dot", "convolution")), instruction)
        shapes = [self._shapes.get(name, "") for name in multiplies.operands]
        kind, operations, exact = _kind(multiplies, {x.operation for x in inside}), 0.0, False
        if kind in ("convolution", "product"):
            count = _convolution_operations if kind == "convolution" else _product_operations
            operations = count(multiplies, shapes)
            exact = shapes[0].startswith("f32") and "highest" in multiplies.line.lower()
        source = re.search(r'op_name="([^"]+)"', instruction.line)
        operands = (self._shapes.get(name, "") for name in instruction.operands)
        moved = _size(instruction.shape) + sum(map(_size, operands))
        return Kernel(kind, 1, moved, operations, exact, source.group(1) if source else "")


def _is_exchange(instruction: Instruction) -> bool:
    return EXCHANGE.fullmatch(instruction.operation) is not None


def _is_fusion(instruction: Instruction) -> bool:
    return instruction.operation == "fusion"


def _kind(instruction: Instruction, inside: Collection[str]) -> str:
    """The kind of a kernel.

    Args:
        instruction: the kernel, or the product within a fusion.
        inside: operations of a fusion.
    """
    if target := re.search(r'custom_call_target="([^"]+)"', instruction.line):
        names = {"conv": "convolution", "matmul": "product", "fmha": "attention"}
        return next((kind for x, kind in names.items() if x in target.group(1)), "other")
    if _is_fusion(instruction):
        only = {frozenset({"convert"}): "conversion", frozenset({"broadcast"}): "broadcast"}
        return only.get(frozenset(inside) - NO_KERNEL, "fusion")
    names = {"convert": "conversion", "copy-start": "copy", "dot": "product"}
    return names.get(instruction.operation, instruction.operation)


def kinds(kernels: Sequence[Kernel]) -> Mapping[str, int]:
    """Return the number of kernels of each kind, most frequent first."""
    counts: Counter[str] = Counter()
    for kernel in kernels:
        counts[kernel.kind] += kernel.times
    return dict(counts.most_common())


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of each computation, and the entry's name."""
    found: dict[str, list[Instruction]] = {}
    name, entry = "", ""
    for line in text.splitlines():
        if head := HEAD.match(line):
            name = head.group(2)
            found[name] = []
            entry = name if head.group(1) else entry
        elif name and (match := INSTRUCTION.match(line)):
            own, shape, operation, rest = match.groups()
            operands = re.findall(r"%([\w.\-]+)", re.split(r"\)(?:, |$)", rest)[0])
            found[name].append(Instruction(own, shape, operation, line, tuple(operands)))
    return found, entry


def _called(instruction: Instruction) -> list[str]:
    """Names of the computations that an instruction calls; of a loop its body."""
    branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.line)
    return CALLED.findall(instruction.line) or re.findall(
        r"%([\w.\-]+)", branches.group(1) if branches else ""
    )


def _trips(instruction: Instruction) -> int:
    """Passes of a loop; 1 of an unknown number, and of any other instruction."""
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', instruction.line)
    return int(known.group(1)) if known else 1


def _size(shape: str) -> int:
    """Bytes of an array or of a tuple of them."""
    return sum(BYTES.get(kind, 1) * _count(sides) for kind, sides in SHAPE.findall(shape))


def _sides(shape: str) -> list[int]:
    """The sides of the first array of a shape."""
    match = SHAPE.search(shape)
    return [int(x) for x in match.group(2).split(",") if x] if match else []


def _count(sides: str) -> int:
    return prod(int(x) for x in sides.split(",") if x)


def _convolution_operations(instruction: Instruction, operands: Sequence[str]) -> float:
    """Two for each pixel of the output (or of its gradient) and number of the kernel."""
    labels = re.search(r"dim_labels=\w+->(\w+)", instruction.line)
    if "BackwardFilter" in instruction.line:
        output, kernel = operands[1], instruction.shape
    elif "BackwardInput" in instruction.line:
        output, kernel = operands[0], operands[1]
    else:
        output, kernel = instruction.shape, operands[1]
    assert labels is not None
    sides = _sides(output)
    return 2 * prod(sides) / sides[labels.group(1).index("f")] * prod(_sides(kernel))


def _product_operations(instruction: Instruction, operands: Sequence[str]) -> float:
    """Two for each number of the result and each along the axes that are summed over."""
    axes = re.search(r'lhs_contracting_dim(?:ension)?s"?[:=][\[{]([\d",]*)', instruction.line)
    sides = _sides(operands[0])
    summed = [sides[int(axis)] for axis in re.findall(r"\d+", axes.group(1) if axes else "")]
    return 2.0 * prod(_sides(instruction.shape)) * prod(summed)
