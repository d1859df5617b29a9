"""Devices, number formats, and batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from dnr_env.errors import DnRError, ItemError, unknown

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def device_of(name: str) -> torch.device:
    """Return the device of that name. "auto" is a GPU if there is one.

    Raises:
        DnRError: this machine has no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        found = torch.device("meta")
    if found.type == "meta":
        raise DnRError(f"`device` must be auto, cpu, or a device of this machine (got {name!r})")
    return found


def dtype_of(option: str, name: str, device: torch.device) -> torch.dtype:
    """Return the dtype that an option names. "auto" is bfloat16 on a GPU and float32 otherwise."""
    import torch

    kinds = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    kinds["auto"] = torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in kinds:
        raise unknown(option, name, kinds)
    return kinds[name]


class FixedBatches:
    """Runs work in batches of one size, and halves the size when the device runs out of memory.

    The last digits of a forward pass depend on the shape of the batch. With one shape, the results of an image do not
    depend on the rest of its batch.

    Args:
        option: the option that sets the size, for error messages.
        size: items per batch. The last batch is filled up with copies.
    """

    def __init__(self, option: str, size: int) -> None:
        if size < 1:
            raise DnRError(f"`{option}` must be at least 1 (got {size})")
        self.option = option
        self.size = size

    def map(self, items: Sequence[Item], work: Callable[[list[Item]], Sequence[Result]]) -> list[Result]:
        """Return the results of `work`, which receives `size` items at a time and returns one result for each."""
        import torch

        done: list[Result] = []
        while len(done) < len(items):
            part = list(items[len(done) : len(done) + self.size])
            try:
                results = work(part + part[-1:] * (self.size - len(part)))
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise ItemError(
                        f"`{self.option}` is 1, and one item still does not fit into the device's memory"
                    ) from None
                self.size //= 2
                torch.cuda.empty_cache()
                continue
            if len(results) != self.size:  # the results cannot be matched to the items
                raise DnRError(
                    f"the model of `{self.option}` must return one result per item (got {len(results)} for {self.size})"
                )
            done += results[: len(part)]
        return done
