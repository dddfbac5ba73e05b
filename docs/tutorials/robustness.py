# %% [markdown]
# # A robustness study
# How much does a recommender lose when a share of the items carries another item's
# picture and text? A study needs three things beside the model: a dose (eta, the share
# of items that are hit), a control (a model that sees no content), and seeds. The data
# are built in, so this runs anywhere; with `dataset=folder` it runs on
# [yours](own_data.md).

# %%
import trustmm

results = trustmm.sweep(
    "experiment=quick",
    "backbone=lightgcn,freedom",  # without content, and with
    "corruption.eta=0,0.3,0.6",
    "seed=0,1",
    "corruption.seed=${seed}",  # each seed draws its own damage
    "training.epochs=25",
    "tracking=none",
)
print(results.table())

# %% [markdown]
# These were 12 jobs, each in a process of its own. Run the cell again and nothing is
# computed: the id of a job is a hash of its options, data and code. LightGCN sees no
# features, so its row is flat: that is the control. On the command line the same sweep
# is
# ```
# python -m trustmm -m experiment=quick backbone=lightgcn,freedom \
#     corruption.eta=0,0.3,0.6 seed=0,1 'corruption.seed=${seed}' training.epochs=25
# ```
# ## Each seed is paired with itself
# A model trained twice differs from itself. So look at the loss of every seed against
# its own clean run, which has the same initial weights and the same batches.

# %%
frame = results.frame()
recall = frame.pivot_table("test/recall@10", ["backbone", "seed"], "corruption.eta")
lost = recall.sub(recall[0.0], axis=0)
lost.round(4)

# %% [markdown]
# ## The curve
# Dots are seeds, lines their mean.

# %%
import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
for backbone, rows in recall.groupby("backbone"):
    (line,) = axis.plot(rows.columns, rows.mean(), label=backbone)
    axis.plot(rows.columns, rows.T, "o", color=line.get_color(), markersize=4)
axis.set(
    xlabel="eta: share of items with another item's features",
    ylabel="Recall@10 on test",
)
_ = axis.legend()

# %% [markdown]
# ## The report
# The same with intervals, paired tests and everything that a reader must know beside a
# number, as Markdown, CSV, LaTeX and figures for print.

# %%
from PIL import Image

page = results.report("report")
print(*sorted(path.name for path in page.parent.glob("*.tex")))
Image.open("report/modality_curves.png")

# %% [markdown]
# Two seeds give an impression, not evidence. [Spend seeds where they
# decide](../evidence.md) lets the comparisons that are still open ask for more,
# [controls](../controls.md) tell a robust model from one that ignores its features, and
# [reports](../report.md) explains the statistics.
