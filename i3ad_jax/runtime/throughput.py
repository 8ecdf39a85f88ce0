"""Throughput: images and training steps that a program takes at a time, by the device's memory.

They change speed and memory, not results. So a run does not keep the automatic ones: each machine
that trains or scores resolves them for its own device.
"""

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import jax

from i3ad_jax.runtime.memory import device_memory
from i3ad_jax.settings import Settings, flag, setting

# The rules for a GPU. They follow from programs that XLA compiled for described cards
# (benchmarks/README.md): nothing was measured on a card.
PIXELS_TOGETHER = 2**20
"""Pixels of the network inputs in the slots of the loop, at most: 16 images of 256 x 256.

A kernel takes 2 us to start, whatever it computes. With 16 such images the starts are 6 % of a pass
in TF32 on an H200 and 11 % in bfloat16, less on slower cards. More images can gain that at most.
"""
SLOTS = 64
"""Slots at most. An image of 64 x 64 then takes 0.24 ms in the loop, less than to be read."""
QUEUE, ROWS = 8, 256
"""Images in the queue over slots, as on a CPU; images in the queue at most.

The host keeps their maps: 1 GiB for 256 images at a working size of 320 x 320.
"""
SHARE = 4
"""Divisor of the memory, for the part that slots may take, and the part of a queue."""
BYTES_OF_WIDTH, ATTENTION = 24, 128
"""Bytes of a slot: for each pixel of the network input and channel of the first layer; and divisor
of the fourth power of the side, for attention.

By XLA's account a slot of width 24 takes 39 MiB in TF32 for 256 x 256 pixels and 541 MiB for 512 x
512; by this rule 68 and 656 MiB.
"""
BYTES_OF_PIXEL = 200
"""Bytes of a queue for each pixel: network input, loop, maps and the segmentation network."""
STEPS, BLOCK_SHARE = 200, 64
"""Training steps of a call, at most; divisor of the memory that their images may take."""


@dataclass(frozen=True)
class Throughput:
    """Numbers of images and steps at a time. The defaults are those of a CPU.

    Attributes:
        test_batch_size: slots of the test-time loop, on all devices.
        queue_size: images given to the compiled loop at a time.
        steps_per_call: training steps whose images are on the device together; losses are recorded
            as often.
    """

    test_batch_size: int = 8
    queue_size: int = 64
    steps_per_call: int = 20

    def halved(self) -> "Throughput":
        """Return numbers that need about half the memory in a test; equal ones where it is least.

        That is one image at a time.
        """
        images = max(self.test_batch_size // 2, 1), max(self.queue_size // 2, 1)
        return Throughput(*images, self.steps_per_call)

    def describe(self) -> str:
        """Return the numbers of images as options of a command."""
        images = {"test_batch_size": self.test_batch_size, "queue_size": self.queue_size}
        return " ".join(f"{flag(name)} {value}" for name, value in images.items())


class Work(NamedTuple):
    """Sizes of a method that its memory follows from.

    Attributes:
        side: of the network input, in pixels.
        width: channels of the first layer.
        step_bytes: bytes of the images of a training step.
    """

    side: int
    width: int
    step_bytes: int


@dataclass(frozen=True)
class Device:
    """Devices of this process, which are alike.

    Attributes:
        count: number of them.
        memory: bytes that the process may take on each; None for a CPU.
    """

    count: int
    memory: int | None

    @classmethod
    def here(cls) -> "Device":
        """Return those of this process."""
        return cls(jax.local_device_count(), device_memory())


@dataclass(frozen=True)
class ThroughputSettings(Settings):
    """Numbers of images at a time. They change speed and memory, not results."""

    test_batch_size: int | None = setting(None, minimum=1, maximum=16_384)
    """Images that go through the loop together, on all devices; it changes speed, not results. None
    is 8 on a CPU, on a GPU a number by its memory and the image size."""
    queue_size: int | None = setting(None, minimum=1, maximum=65_536)
    """Images given to the compiled loop at a time; a finished one makes room for the next. Like the
    batch size it changes speed, memory and how often the progress bar moves, not results. None is
    64 on a CPU, on a GPU a number by its memory and the image size."""

    def resolve(self, device: Device, work: Work) -> Throughput:
        """Return the numbers given, and for each that is None the number of the device.

        Args:
            device: devices that the programs run on.
            work: sizes of the method.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(_automatic(device, work), **given)


def _automatic(device: Device, work: Work) -> Throughput:
    """Return the numbers of a CPU, or the ones that the memory of another device allows."""
    if device.memory is None:
        return Throughput()
    pixels, share = work.side**2, device.memory // SHARE
    slot = BYTES_OF_WIDTH * work.width * pixels + pixels**2 // ATTENTION
    slots = _power_of_two(min(SLOTS, PIXELS_TOGETHER // pixels, share // slot))
    queue = _power_of_two(min(ROWS, QUEUE * slots, share // (BYTES_OF_PIXEL * pixels)))
    default = Throughput().steps_per_call
    fitting = device.memory // BLOCK_SHARE // max(work.step_bytes, 1)
    steps = max(min(fitting, STEPS) // default, 1) * default
    return Throughput(slots * device.count, queue * device.count, steps)


def _power_of_two(most: int) -> int:
    """Return the largest power of two up to `most`, at least 1: little changes where memory does.

    Equal numbers share compiled programs, and a prediction continues in the same lists.
    """
    return 1 << max(most.bit_length() - 1, 0)
