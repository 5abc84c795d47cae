"""Experts on demand: only what the router chose is read, once it is known, into a few places of one expert each.

The places are the staging slots that the plan counts for such blocks. While one expert computes, the next chosen ones
of its group are on their way, as far as places allow; nothing is read that no token goes to.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor

from ..buffers import aligned_buffer
from ..events import CopyFinished
from ..kernels.cpu import Weight
from ..model.reader import Pending, Reader
from ..planner.placement import Placement
from .weights import BlockLayout, fill

__all__ = ["ExpertPool", "demand_pools"]


@dataclass(frozen=True, slots=True)
class _Coming:
    """One expert on its way into a place."""

    number: int
    place: int
    layout: BlockLayout
    pending: Pending | None


class ExpertPool:
    """The places of one exec device: `count` buffers of `size` bytes; `host` are blocks that rest in memory."""

    def __init__(self, device: str, size: int, count: int, host: Mapping[str, Tensor], reader: Reader) -> None:
        self.device, self.host, self.reader = device, host, reader
        self.nbytes = size * count
        memory = aligned_buffer(self.nbytes)
        memory = memory if device == "cpu" else memory.to(device)
        self.places = [memory[i * size : (i + 1) * size] for i in range(count)]
        self._bounce = aligned_buffer(size if device != "cpu" else 0)
        self.nbytes += self._bounce.numel()
        self.record: CopyFinished | None = None

    def bring(
        self, block: str, layout: BlockLayout, numbers: Sequence[int]
    ) -> Iterator[tuple[int, Mapping[str, Weight]]]:
        """Yield the experts `numbers` of `block` in order; each one's weights are valid until the next is asked for.

        Afterwards `record` tells of the copies, None where there were none.
        """
        self.record, began, moved = None, time.monotonic(), 0
        coming: deque[_Coming] = deque()
        waiting = deque(numbers)
        try:
            for place in range(min(len(self.places), len(waiting))):
                coming.append(self._request(block, layout, waiting.popleft(), place))
            while coming:
                here = coming.popleft()
                if here.pending is not None:
                    here.pending.wait()
                moved += here.layout.file_bytes
                self.record = CopyFinished(block, began, time.monotonic(), moved, here.place)
                yield here.number, here.layout.views(self.places[here.place])
                if waiting:
                    coming.append(self._request(block, layout, waiting.popleft(), here.place))
        finally:
            for left in coming:  # nothing may still be written into a place when the next block asks for it
                with suppress(Exception):
                    if left.pending is not None:
                        left.pending.wait()

    def _request(self, block: str, group: BlockLayout, number: int, place: int) -> _Coming:
        layout, start = group.expert(number)
        target, pending = self.places[place], None
        if block in self.host:
            target[: layout.nbytes].copy_(self.host[block][start : start + layout.nbytes])
        elif self.device != "cpu":
            fill(layout, self._bounce, self.reader)
            target[: layout.nbytes].copy_(self._bounce[: layout.nbytes])
        elif layout.plain:
            pending = self.reader.submit(layout.parts(target))
        else:
            fill(layout, target, self.reader)
        return _Coming(number, place, layout, pending)


def expert_bytes(layout: BlockLayout) -> int:
    """Return the bytes of the largest expert of a group."""
    return max(layout.expert(int(number))[0].nbytes for number in {name.rpartition(".")[2] for name in layout.slots})


def demand_pools(
    placement: Placement, layouts: Mapping[str, BlockLayout], slots: int, host: Mapping[str, Tensor], reader: Reader
) -> dict[str, ExpertPool]:
    """Return a pool for every device with blocks on demand, in the slots that streamed blocks leave.

    The plan counts min(slots, staged blocks) slots of the largest staged size; one of them is kept for experts.
    """
    pools = {}
    on_demand = {name: choice for name, choice in placement.items() if choice.on_demand}
    for device in dict.fromkeys(choice.exec_device for choice in on_demand.values()):
        experts = [expert_bytes(layouts[n]) for n, choice in on_demand.items() if choice.exec_device == device]
        streamed = [
            layouts[name].nbytes
            for name, choice in placement.items()
            if choice.exec_device == device and choice.copies and not choice.on_demand and name != "embed"
        ]
        free = min(slots, len(experts) + len(streamed)) - min(max(1, slots - 1), len(streamed))
        largest = max(experts)
        count = max(1, free * max(experts + streamed) // largest)
        pools[device] = ExpertPool(device, largest, count, host, reader)
    return pools
