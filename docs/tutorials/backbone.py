# %% [markdown]
# # Your own backbone
# A new model in a package of your own, without touching trustmm. It joins every sweep,
# repair and report by its name. The model here is small: the score of a user and an
# item is the inner product of two free vectors, and that of the item gets its projected
# features added.
#
# ## Two files
# A YAML file holds a default for every number that could appear in a paper's table, and
# names the class.

# %%
from pathlib import Path

Path("mymodels/conf/backbone").mkdir(parents=True, exist_ok=True)
Path("mymodels/__init__.py").touch()
_ = Path("mymodels/conf/backbone/addition.yaml").write_text(
    """\
# Matrix factorisation with projected features added to the items.
_target_: mymodels.addition.Addition
_partial_: true
width: 32
reg: 0.001    # weight of the squared vectors
"""
)
_ = Path("mymodels/addition.py").write_text(
    '''\
import torch

from trustmm.backbone.base import Backbone, Embeddings
from trustmm.backbone.losses import bpr
from trustmm.options.checks import Count, NonNegative


class Addition(Backbone):
    """Item vectors are free vectors plus projected features."""

    needs_features = True

    def __init__(self, train, *, rng, neighbours, width: Count, reg: NonNegative):
        super().__init__()
        self.reg = reg
        matrices = [torch.as_tensor(matrix) for matrix in train.features.values()]
        features = torch.cat(matrices, dim=1)
        self.register_buffer("features", torch.nn.functional.normalize(features))
        sizes = train.num_users, train.num_items, features.shape[1]
        draws = [rng.normal(scale=0.1, size=(rows, width)) for rows in sizes]
        tables = [torch.nn.Parameter(torch.tensor(draw).float()) for draw in draws]
        self.user, self.item, self.project = tables

    def embeddings(self) -> Embeddings:
        return Embeddings(self.user, self.item + self.features @ self.project)

    def loss_terms(self, batch):
        shown = self.embeddings()
        users, items = shown.user_UD[batch.users], shown.item_ID
        rows = users, items[batch.positives], items[batch.negatives]
        norms = sum((row**2).sum(dim=1).mean() for row in rows)
        return {"bpr": bpr(*rows), "reg": self.reg * norms}
'''
)

# %% [markdown]
# All random numbers come from `rng`, so that the same seed gives the same weights
# everywhere. There is no loop, optimiser or device here: the one training loop does the
# rest.
#
# ## Tell trustmm
# An installed package says so in its entry points ([Adding a method](../adding.md));
# for one that lies in the working directory, the environment variable is enough.

# %%
import os
import sys

os.environ["TRUSTMM_PLUGINS"] = "mymodels"
sys.path.insert(0, ".")

import trustmm

result = trustmm.run(
    "experiment=quick", "backbone=addition", "training.epochs=25", "tracking=none"
)
result

# %% [markdown]
# A mistyped option is refused before anything is computed, for your model as for any
# other:

# %%
try:
    trustmm.run("backbone=addition", "backbone.widht=8")
except ValueError as error:
    print(error)

# %% [markdown]
# ## Compare it
# Under damage, with seeds, beside a model without features (`bpr`) and one that has
# been published (`vbpr`).

# %%
results = trustmm.sweep(
    "experiment=quick",
    "backbone=bpr,vbpr,addition",
    "corruption.eta=0,0.4",
    "seed=0,1",
    "corruption.seed=${seed}",
    "training.epochs=25",
    "tracking=none",
)
print(results.table())

# %% [markdown]
# ## Test it
# The contract that all of trustmm's own models keep is a class; a file
# `test_addition.py` with these lines inherits some dozen tests: shapes, gradients,
# equal seeds, relabelled items, saved weights.
# ```python
# from trustmm.testing import BackboneContract
#
#
# class TestAddition(BackboneContract):
#     option = "backbone=addition"
# ```
# [Adding a method](../adding.md) continues with rectifiers, edits, corruptions, metrics
# and data sets.
