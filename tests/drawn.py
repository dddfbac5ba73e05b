"""What is drawn without data from outside: printed as digests, for `test_exact` to compare between machines."""

import json
import sys

import numpy as np

from trustmm.corruption.kinds import REPLACEMENTS
from trustmm.dataset.synthetic import SyntheticDataset
from trustmm.exact import bell
from trustmm.seeding import stream
from trustmm.store.digest import digest

COMMON = {
    "categories": False,
    "taste_dim": 16,
    "num_groups": 50,
    "spread": 0.1,
    "sharpness": 4.0,
    "popularity": 0.6,
    "held_out": 0.1,
}
DATA = {
    "default": {"content": 0.5, "seed": 0},
    "noise": {"content": 0.0, "seed": 0},
    "taste": {"content": 1.0, "seed": 1},
    **{f"seed {seed}": {"content": 0.5, "seed": seed} for seed in (2, 6, 8, 10, 16)},
    "narrow": {"taste_dim": 1, "content": 0.5, "seed": 0, "num_users": 333, "num_interactions": 3001},
    "wide": {"taste_dim": 301, "content": 0.7, "seed": 3, "num_users": 333, "num_items": 601, "num_interactions": 3001},
    "no taste": {"sharpness": 0.0, "popularity": 0.0, "content": 0.5, "seed": 4},
}
SIZE = {"num_users": 2000, "num_items": 1000, "num_interactions": 14000, "modalities": {"visual": 64, "textual": 32}}


def clusters() -> dict[str, str]:
    """Rows chosen for similar swaps, also where many cosines are nearly or exactly equal."""
    rng = stream(0, "clusters")
    rows = {
        "bell": bell(rng, (3000, 96)),
        "signs": rng.integers(-1, 2, (3000, 33)),
        "tenths": 0.1 * rng.integers(1, 4, (3000, 301)),
    }
    chosen, kind = np.arange(0, 3000, 2), REPLACEMENTS["swap_similar"]
    return {name: digest(kind(row.astype(np.float32), chosen, stream(1, name))) for name, row in rows.items()}


if __name__ == "__main__":
    found = {name: SyntheticDataset(**(COMMON | SIZE | options))().content_digest for name, options in DATA.items()}
    sys.stdout.write(json.dumps(found | clusters(), indent=1) + "\n")
