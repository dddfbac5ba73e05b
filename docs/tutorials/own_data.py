# %% [markdown]
# # Your own data
# From a table of clicks, a table of products and a folder of pictures to
# recommendations, in a minute and without a download. The first cell makes up a small
# shop; replace its files with yours.

# %%
import csv
import random
from pathlib import Path

from PIL import Image, ImageDraw

random.seed(0)
KINDS = {
    "bottle": "navy",
    "shirt": "tomato",
    "lamp": "gold",
    "plant": "green",
    "chair": "sienna",
    "clock": "gray",
}
products = {f"{kind}-{number}": kind for kind in KINDS for number in range(25)}

Path("pictures").mkdir(exist_ok=True)
for name, kind in products.items():
    picture = Image.new("RGB", (64, 64), "white")
    side = random.randint(10, 25)
    ImageDraw.Draw(picture).rectangle(
        (side, side, 64 - side, 64 - side), fill=KINDS[kind]
    )
    picture.save(f"pictures/{name}.png")

with open("products.csv", "w", newline="") as file:
    csv.writer(file).writerow(["item", "title", "category"])
    csv.writer(file).writerows(
        [name, f"{kind} number {name.split('-')[1]}, {KINDS[kind]}", kind]
        for name, kind in products.items()
    )

with open("clicks.csv", "w", newline="") as file:
    csv.writer(file).writerow(["user", "item", "time"])
    for user in range(300):
        liked = random.sample(
            list(KINDS), 2
        )  # everybody cares for two kinds, and clicks on others now and then
        choices = random.choices(
            list(products),
            [10 if kind in liked else 1 for kind in products.values()],
            k=15,
        )
        csv.writer(file).writerows(
            [f"user{user}", item, 1_700_000_000 + random.randrange(10**7)]
            for item in choices
        )

# %% [markdown]
# ## Prepare
# `python -m trustmm prepare` turns the files into a data set folder. A cell calls it
# with the words of the command line. `tfidf` and `histogram` are the encoders that need
# no download; the category becomes a modality of its own.

# %%
import shutil

from trustmm.cli import describe, prepare

shutil.rmtree("data/shop", ignore_errors=True)
prepare.main(
    """--out data/shop --interactions clicks.csv
    --metadata products.csv --text-model tfidf --text-fields title
    --attributes products.csv category
    --images pictures --vision-model histogram""".split()
)

# %% [markdown]
# ## Look at it
# `describe` shows what is in a folder, and what may be wrong with its features: rows
# that are zero, equal or not finite.

# %%
describe.main(["data/shop", "--out", "shop.png"])

# %%
Image.open("shop.png")

# %% [markdown]
# ## Train
# The folder knows its name and its modalities. Any backbone takes it; this one is
# FREEDOM with short training.

# %%
import trustmm

result = trustmm.run(
    "dataset=folder",
    "dataset.root=data/shop",
    "backbone=freedom",
    "training.epochs=30",
    "training.learning_rate=0.01",
    "tracking=none",
)
print(
    {
        name: round(value, 3)
        for name, value in result.metrics.items()
        if name.endswith("@10")
    }
)

# %% [markdown]
# Is that good? Ask the simplest model for comparison: popularity.

# %%
popular = trustmm.run(
    "dataset=folder", "dataset.root=data/shop", "backbone=pop", "tracking=none"
)
recalls = [one.metrics["recall@10"] for one in (popular, result)]
print("recall@10: popularity {:.3f}, FREEDOM {:.3f}".format(*recalls))

# %% [markdown]
# ## Recommend
# A job that ran alone keeps its weights. `items.tsv` in the folder leads from numbers
# back to your own ids.

# %%
from trustmm.dataset.layout import read_names

model = trustmm.load(result)
items = read_names(Path("data/shop/items.tsv"), model.data.num_items)
users = read_names(Path("data/shop/users.tsv"), model.data.num_users)
for user in range(3):
    seen = [
        items[item] for item in model.data.train.items[model.data.train.users == user]
    ]
    best = [items[item] for item in model.recommend([user], k=5).items[0]]
    print(f"{users[user]} clicked on {', '.join(sorted(seen))}")
    print(f"  recommended: {', '.join(best)}")

# %% [markdown]
# On the command line, `python -m trustmm recommend outputs/JOB_ID --top 10 --out
# best.parquet` writes the same for all users. Next: [would it stand wrong pictures and
# texts?](robustness.md) [Are yours right?](repair.md) All formats that `prepare` reads
# are in [Data](../data.md).
