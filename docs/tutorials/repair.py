# %% [markdown]
# # A repair on your catalogue
# Some products carry the wrong picture. Which ones, how many, and is it worth mending
# them? Nobody has labelled anything; all that is known is what people clicked on. The
# catalogue here is made up so that the truth can be looked at in the end.

# %%
import numpy as np

rng = np.random.default_rng(0)
num_users, num_items, kinds = 800, 400, 10
kind = rng.integers(kinds, size=num_items)
interest = rng.dirichlet(
    np.full(kinds, 0.2), size=num_users
)  # most people care for one or two kinds
users = np.repeat(np.arange(num_users), 15)
chosen = np.array([rng.choice(kinds, p=interest[user]) for user in users])
items = np.array([rng.choice(np.flatnonzero(kind == one)) for one in chosen])
users, items = np.unique([users, items], axis=1)

right = rng.normal(size=(kinds, 32))[kind] + rng.normal(
    size=(num_items, 32)
)  # features of pictures, by an encoder
wrong = rng.choice(num_items, size=80, replace=False)
pictures = right.copy()
pictures[wrong] = right[np.roll(wrong, 1)]  # 80 of 400 items carry each other's

# %% [markdown]
# ## Which ones?
# `rectifier=trust` compares the features with the clicks and says of each item how
# likely its feature is not its own.

# %%
import trustmm

repair = trustmm.rectify(
    pictures,
    users,
    items,
    "rectifier=trust",
    "prior.epochs=40",
    "prior.learning_rate=0.01",
)
print(f"estimated share of wrong features: {repair.eta_hat:.2f} (the truth: 0.20)")
suspects = np.argsort(-repair.mismatch)[:80]
print(f"of the 80 items it doubts most, {np.isin(suspects, wrong).sum()} are wrong")

# %% [markdown]
# Both are estimates: the share of a catalogue of this size may be off by 0.05 and more.
# Here are the probabilities, with the truth in colour.

# %%
import matplotlib.pyplot as plt

is_wrong = np.isin(np.arange(num_items), wrong)
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.hist(
    [repair.mismatch[~is_wrong], repair.mismatch[is_wrong]],
    np.linspace(0, 1, 21),
    stacked=True,
    label=["right", "wrong"],
)
axis.set(xlabel="probability that the picture is not the item's own", ylabel="items")
_ = axis.legend()

# %% [markdown]
# ## What does the repair do, to wrong items and to right ones?
# A repair is judged by both: it should bring wrong features nearer to the right ones
# and leave the others alone. `mr`, the paper's repair, moves everybody.


# %%
def to_clean(features):
    """Mean cosine to the right feature, of wrong and of right items."""
    norms = np.linalg.norm(features, axis=1) * np.linalg.norm(right, axis=1)
    cosine = (features * right).sum(axis=1) / norms
    return f"wrong {cosine[is_wrong].mean():.2f}, right {cosine[~is_wrong].mean():.2f}"


other = trustmm.rectify(
    pictures,
    users,
    items,
    "rectifier=mr",
    "prior.epochs=40",
    "prior.learning_rate=0.01",
)
print("as they are:", to_clean(pictures))
print("mr:         ", to_clean(other.features))
print("trust:      ", to_clean(repair.features))

# %% [markdown]
# ## Does a recommender gain?
# Only training it tells. The damage is in the data already, so `corruption.eta` stays
# 0.

# %%
data = trustmm.Dataset.from_arrays(users, items, features={"visual": pictures})
short = (
    "training.epochs=25",
    "training.learning_rate=0.01",
    "prior.epochs=40",
    "prior.learning_rate=0.01",
)
results = trustmm.sweep(
    "backbone=freedom",
    "rectifier=none,mr,trust",
    "seed=0,1",
    *short,
    "tracking=none",
    dataset=data,
)
print(results.table())

# %% [markdown]
# Two seeds of a small shop cannot tell repairs apart. What is certain is the list of
# suspects: have somebody look at those pictures. From a data set folder, `python -m
# trustmm rectify rectifier=trust out=FOLDER dataset=folder dataset.root=...` writes the
# repaired features for any toolkit, and the suspects as a page with their names and
# pictures. How it works and where it fails: [Trust](../trust.md).
