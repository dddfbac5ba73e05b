"""The machine and the versions behind a number."""

import platform
from typing import TYPE_CHECKING

from trustmm import __version__

if TYPE_CHECKING:
    import torch


def versions(device: "torch.device") -> dict[str, str]:
    """What can move the last digit of a number: versions, the device, and how many threads divided its sums."""
    import numpy as np
    import torch

    cpu = platform.processor() or platform.machine()
    return {
        "trustmm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
    }
