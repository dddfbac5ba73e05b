"""Whether the machine was ours while something was measured, and what it could do at best."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

STAT = Path("/proc/stat")
DISTURBED = 0.05
"""Share of one core that other processes may take of a measurement."""
CACHED = 4 << 20
"""Bytes of what is copied to learn the bandwidth: tables of our data sets fit into the last cache."""
GATHERS = ("index_select", "embedding", "_embedding_bag", "_embedding_bag_forward_only")
SCATTERS = ("index_add_", "index_copy_", "scatter_add_", "index_put_")


def busy_seconds() -> float | None:
    """Seconds that all cores together were busy since the start; None where no such file is."""
    if not STAT.is_file():
        return None
    user, nice, system, _, _, irq, softirq, steal = (int(word) for word in STAT.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / 100


def own_seconds() -> float:
    """Seconds of a core that this process and its ended children have used."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def watched(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the share of one core that other processes used meanwhile (0 where that is unknown)."""
    started, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    result = call()
    elapsed, used = time.perf_counter() - started, own_seconds() - own
    after = busy_seconds()
    others = 0.0 if busy is None or after is None else after - busy - used
    return result, max(0.0, others / elapsed)


def machine(seconds: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    """Bytes a second of a copy within the caches, and operations a second of a square float32 product."""
    source, side = torch.ones(CACHED // 4), torch.randn(2048, 2048)
    target = torch.empty_like(source)
    return {
        "bytes_per_s": 2 * source.nbytes / seconds(lambda: target.copy_(source)),
        "flops_per_s": 2 * side.shape[0] ** 3 / seconds(lambda: side @ side),
    }


class Traffic(TorchDispatchMode):
    """Bytes that kernels read and write, one kernel at a time; gathers count the rows that they touch."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.namespace == "aten" and not func.is_view:
            name = func._schema.name.removeprefix("aten::")
            tensors = [leaf for leaf in tree_leaves((args, kwargs, found)) if isinstance(leaf, torch.Tensor)]
            sizes = {id(leaf): _stored(leaf) for leaf in tensors}
            if name in GATHERS:
                index = next(leaf for leaf in tensors if not leaf.is_floating_point())
                sizes[id(args[0])] = index.numel() * args[0][0].nbytes
            elif name in SCATTERS:
                sizes[id(args[0])] = 2 * args[-1].nbytes
            self.bytes += sum(sizes.values())
        return found


def _stored(tensor: torch.Tensor) -> int:
    """Bytes of a tensor; `nbytes` of a sparse one is that of the dense one."""
    if tensor.layout is torch.strided:
        return tensor.nbytes
    return tensor.values().nbytes + tensor.col_indices().nbytes + tensor.crow_indices().nbytes


def demands(call: Callable[[], object]) -> dict[str, float]:
    """Bytes and floating-point operations of the matrix products of a call."""
    with FlopCounterMode(display=False) as flops, Traffic() as traffic:
        call()
    return {"bytes": float(traffic.bytes), "flops": float(flops.get_total_flops())}
