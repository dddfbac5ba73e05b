"""Named random streams: one seed per job, one independent stream per purpose."""

import hashlib

import numpy as np


def stream(seed: int, *purpose: str) -> np.random.Generator:
    """Independent stream for one purpose: ``stream(0, "corruption", "visual")``.

    The order of calls is irrelevant, so changing one stage never changes the draws of another.

    Args:
        seed: the job's seed, at least 0; 0 is a seed like any other.
        purpose: names from general to particular.
    """
    digest = hashlib.blake2b("/".join(purpose).encode(), digest_size=16).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])
