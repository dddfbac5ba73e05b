"""What ``run.py`` measures: the hot kernels, whole steps, every backbone; each in the process that asked for it."""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from quiet import demands, machine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DATA = Path(os.environ.get("TRUSTMM_DATA", ROOT.parent / "shared" / "data"))
SIZES = {"sports_attr": (35598, 18357, 296337), "tiktok": (9308, 6710, 68722)}
WIDTHS = {"sports_attr": {"textual": 384, "attribute": 128}, "tiktok": {"visual": 128, "acoustic": 128}}
PUBLISHED_WIDTHS = {"visual": 4096, "textual": 384}
SYNTHETIC = {"baby": (19_445, 7_050, 160_792), "electronics": (192_403, 63_001, 1_689_188), "tiny": (300, 120, 3_000)}
"""Users, items and interactions of synthetic data of the size of published ones."""
SCALE_BATCHES = 50
SCALE_CACHE = Path(tempfile.gettempdir()) / "trustmm-bench"
"""Synthetic data of Electronics' size and their item graphs: minutes to make, the same for every backbone."""
BACKBONES = sorted(path.stem for path in (ROOT / "conf" / "backbone").glob("*.yaml"))
REPEATS = 5
CHUNK_S = 1.0
"""Seconds of training in one measurement."""
PROFILED = 9
"""Kernels that a profile names."""


def seconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Least time of a call after one to warm up: what else the machine does can only add to it."""
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def config(*overrides: str):
    from hydra import compose, initialize_config_dir

    from trustmm.options.config import config_folder, register

    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        return compose("config", overrides=["tracking=none", *overrides])


def dataset(name: str):
    from trustmm.options.build import build

    if DATA.is_dir():
        return with_categories(build(config(f"dataset={name}", f"dataset.root={DATA}"), "dataset")())
    users, items, pairs = SIZES[name]
    widths = [f"+dataset.modalities.{key}={width}" for key, width in WIDTHS[name].items()]
    sizes = [f"dataset.num_users={users}", f"dataset.num_items={items}", f"dataset.num_interactions={pairs}"]
    changes = [*sizes, "~dataset.modalities.visual", "~dataset.modalities.textual", *widths]
    return with_categories(build(config(*changes), "dataset")())


def with_categories(data):
    """Categories for the one model that needs them; which they are makes no difference to time or memory."""
    return replace(data, categories=np.arange(data.num_items) % 50)


def backbone(name: str, data_name: str) -> dict:
    """Seconds of an epoch and of a ranking of all test users, and bounds that no code of ours can go below.

    An epoch is its draws and its start, and the least mean time of a few batches, times their number. The bounds: bytes
    and operations of a batch, the optimiser's pass over all parameters once a batch, and the product of all users with
    all items.
    """
    from trustmm.evaluation.full_ranking import MASKS
    from trustmm.graph.neighbours import NeighbourSearch
    from trustmm.options.build import build
    from trustmm.seeding import stream
    from trustmm.training.loop import train_epoch, validate
    from trustmm.training.sampling import TripleSampler

    settings, data = config(f"backbone={name}"), dataset(data_name)
    training, model, optimizer, triples = trainable(settings, data, NeighbourSearch())
    result = {"epoch_s": 0.0, "adam_s": 0.0, "bytes": 0.0, "flops": 0.0}
    if optimizer:
        sampler = TripleSampler(data.train, negatives=model.uses_negatives)
        start_s = seconds(lambda: model.begin_epoch(stream(0, "graph")), 2)
        draw_s = seconds(lambda: sampler.epoch(stream(0, "batches")), 2)
        batches = -(-triples.shape[1] // training.batch_size)

        def train(count: int) -> None:
            train_epoch(model, optimizer, triples[:, : count * training.batch_size], training.batch_size, 0)

        one_s = seconds(lambda: train(1), 2)
        few = max(1, min(batches - 1, round(CHUNK_S / one_s)))  # the last batch is not a whole one
        batch_s = seconds(lambda: train(few)) / few
        once, twice = (
            demands(lambda count=count: train(count)) for count in (1, 2)
        )  # what ends an epoch is not a batch's
        result = {
            "epoch_s": start_s + draw_s + batches * batch_s,
            "adam_s": batches * seconds(optimizer.step, 20),
            **{key: batches * (twice[key] - once[key]) for key in once},
        }
    evaluation = build(settings, "evaluation")
    evaluator = evaluation.evaluator(data.test, dict.fromkeys(MASKS, data.train), training.torch_device)
    users = torch.from_numpy(np.unique(data.test.users)).split(evaluation.batch_size)

    @torch.no_grad()
    def product() -> None:
        scorer = model.eval().scorer()
        for block in users:
            scorer.scores(block)

    return result | {"ranking_s": seconds(lambda: validate(model, evaluator)), "product_s": seconds(product)}


def synthetic(name: str):
    """Synthetic data of a published size, with features of the published widths, made once."""
    from trustmm.dataset.data import Dataset
    from trustmm.graph.edges import Edges
    from trustmm.options.build import build
    from trustmm.store.cache import Cache

    users, items, pairs = SYNTHETIC[name]
    widths = [f"dataset.modalities.{name}={width}" for name, width in PUBLISHED_WIDTHS.items()]
    sizes = [f"dataset.num_users={users}", f"dataset.num_items={items}", f"dataset.num_interactions={pairs}"]
    settings = config(*sizes, *widths, f"dataset.num_groups={max(8, items // 21)}")

    def draw() -> dict:
        data = build(settings, "dataset")()
        splits = {name: getattr(data, name).keys for name in ("train", "valid", "test")}
        return splits | {f"features/{name}": matrix for name, matrix in data.features.items()}

    key = {"sizes": sizes, "widths": widths, "of": name}
    stored = Cache(SCALE_CACHE).arrays("synthetic", key, draw)
    splits = {name: Edges.from_keys(stored[name], users, items) for name in ("train", "valid", "test")}
    features = {name: stored[f"features/{name}"] for name in PUBLISHED_WIDTHS}
    return with_categories(Dataset(name="synthetic", **splits, features=features))


def trainable(settings, data, search):
    """Training, a model at the start of an epoch, its optimiser and the triples of the epoch."""
    from trustmm.backbone.draws import Draws
    from trustmm.options.build import build
    from trustmm.seeding import stream
    from trustmm.training.sampling import TripleSampler

    training = build(settings, "training")
    torch.use_deterministic_algorithms(training.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False
    device = training.torch_device
    model = build(settings, "backbone")(data.as_train_data(), rng=stream(0, "init"), neighbours=search).to(device)
    sampler = TripleSampler(data.train, negatives=model.uses_negatives)
    triples = torch.from_numpy(sampler.epoch(stream(0, "batches"))).to(device)
    model.train()
    model.draws = Draws(stream(0, "draws"))
    model.begin_epoch(stream(0, "graph"))
    return training, model, training.optimizer_of(model), triples


def scale(name: str) -> dict:
    """Fifty training batches and one full ranking at Electronics' size."""
    from trustmm.evaluation.full_ranking import MASKS
    from trustmm.graph.rows import RowTable
    from trustmm.job import CachedSearch
    from trustmm.options.build import build
    from trustmm.store.cache import Cache
    from trustmm.training.lazy import EAGER_STEPS
    from trustmm.training.loop import train_epoch, validate

    settings, data = config(f"backbone={name}"), synthetic("electronics")
    device = build(settings, "training").torch_device
    started = time.perf_counter()
    training, model, optimizer, triples = trainable(settings, data, CachedSearch(Cache(SCALE_CACHE), device, {}))
    built = time.perf_counter() - started
    if any(
        isinstance(table, RowTable) and table.reader for table in model.parameters()
    ):  # whose first steps are slower
        train_epoch(model, optimizer, triples[:, : EAGER_STEPS * training.batch_size], training.batch_size, 0)
    began = time.perf_counter()
    few = triples[:, : SCALE_BATCHES * training.batch_size]
    losses = train_epoch(model, optimizer, few, training.batch_size, 0) if optimizer else {}
    trained = time.perf_counter()
    evaluator = build(settings, "evaluation").evaluator(data.test, dict.fromkeys(MASKS, data.train), device)
    scores = validate(model, evaluator)
    return {
        "build_s": built,
        "batch_s": (trained - began) / SCALE_BATCHES,
        "ranking_s": time.perf_counter() - trained,
        "finite": bool(np.isfinite(list(losses.values())).all() and np.isfinite(list(scores.means.values())).all()),
    }


def lazy() -> dict:
    """Milliseconds of a step of Adam that reads some rows of a table, as it is and by rows; one thread."""
    from trustmm.graph.rows import RowTable, take
    from trustmm.training.lazy import EAGER_STEPS, follow

    torch.set_num_threads(1)
    found = {}
    for size, width, batch in ((18_357, 512, 4096), (63_001, 4480, 4096), (192_403, 64, 2048)):
        for way, step_rows in (("dense", size), ("by rows", 0)):
            model = torch.nn.Module()
            model.table = RowTable(torch.zeros(size, width))
            optimizer = torch.optim.Adam([model.table], fused=True)
            follow(model, optimizer, step_rows)
            rng = torch.Generator().manual_seed(0)

            def step(table=model.table, optimizer=optimizer, size=size, batch=batch, rng=rng) -> None:
                optimizer.zero_grad()
                take(table, torch.randint(size, (batch,), generator=rng).unique()).sum().backward()
                optimizer.step()

            step()
            optimizer.state[model.table]["step"].fill_(EAGER_STEPS)
            found[f"{size} x {width}, {way}"] = 1000 * seconds(step, 10)
    return found


def profile(name: str, data_name: str) -> dict:
    """Share of an epoch's time in each kernel and in what surrounds them, the largest first."""
    from torch.profiler import profile as watch

    from trustmm.graph.neighbours import NeighbourSearch
    from trustmm.training.loop import train_epoch

    training, model, optimizer, triples = trainable(config(f"backbone={name}"), dataset(data_name), NeighbourSearch())
    train_epoch(model, optimizer, triples, training.batch_size, 0)
    with watch() as watched:
        train_epoch(model, optimizer, triples, training.batch_size, 1)
    times = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in watched.key_averages()}
    largest = sorted(times, key=times.__getitem__, reverse=True)[:PROFILED]
    return {"shares": {key: times[key] / sum(times.values()) for key in largest}}


def kernels() -> dict:
    """Ours against the naive version, on Sports."""
    from benchmarks import naive
    from trustmm.backbone.base import Embeddings
    from trustmm.evaluation.ranking import Ranker
    from trustmm.graph.bipartite import bipartite_operator
    from trustmm.graph.neighbours import cosine_neighbours
    from trustmm.training.sampling import TripleSampler

    data, rng = dataset("sports_attr"), np.random.default_rng(0)
    users, items = torch.randn(data.num_users, 64), torch.randn(data.num_items, 64)
    nodes = torch.cat([users, items])
    operator, csr = bipartite_operator(data.train), naive.csr_operator(data.train)
    sampler = TripleSampler(data.train)
    ranker = Ranker(data.test, {"clean": data.train}, depth=50, batch_size=256, device=torch.device("cpu"))
    features = data.features[sorted(data.features)[0]]
    few = data.test.users < 2000
    from trustmm.graph.edges import Edges

    some = Edges.from_keys(data.test.keys[few], data.num_users, data.num_items)
    share = len(np.unique(data.test.users)) / len(np.unique(some.users))
    pairs = {
        "sparse product, 437k entries x 64 (naive: torch CSR)": (
            seconds(lambda: operator.multiply(nodes), 20),
            seconds(lambda: csr @ nodes, 20),
        ),
        "negatives of one epoch (naive: rejection in Python)": (
            seconds(lambda: sampler.epoch(rng)),
            seconds(lambda: naive.negatives_one_by_one(data.train, rng), 1),
        ),
        "ranks of all test pairs (naive: a sort per user, extrapolated from 2,000 users)": (
            seconds(lambda: ranker.ranks(Embeddings(users, items))),
            share * seconds(lambda: naive.recall_user_by_user(users, items, data.train, some, 10), 1),
        ),
        "10 nearest items (naive: dense matrix, 1.3 GiB)": (
            seconds(lambda: cosine_neighbours(features, k=10), 1),
            seconds(lambda: naive.dense_neighbours(torch.from_numpy(features), 10), 1),
        ),
    }
    return {name: {"ours_s": ours, "naive_s": other} for name, (ours, other) in pairs.items()}


def segments() -> dict:
    """Segment reductions by torch and, where installed, by torch-scatter."""
    from trustmm.graph import segment

    values, offsets = torch.randn(1_323_021, dtype=torch.float64), torch.arange(0, 1_323_022, 21)
    result = {}
    for name, call in {"torch": None, "torch-scatter": segment.segment_csr}.items():
        if name == "torch" or call is not None:
            segment.segment_csr = call
            result[name] = seconds(lambda: segment.segment_logsumexp(values, offsets), 10)
    return result


def rectify() -> dict:
    """Rectification at the size of Electronics: 63,001 items with 4096 + 384 features."""
    from trustmm.dataset.data import TrainData
    from trustmm.graph.edges import Edges
    from trustmm.options.build import build
    from trustmm.prior.lightgcn import Prior
    from trustmm.store.cache import Cache

    count, rng = 63001, np.random.default_rng(0)
    taste = rng.standard_normal((count, 64), dtype=np.float32)
    features = {}
    for name, width in PUBLISHED_WIDTHS.items():
        view = taste @ rng.standard_normal((64, width), dtype=np.float32)
        view += 8 * rng.standard_normal((count, width), dtype=np.float32)
        features[name] = view
    edges = Edges.of(np.arange(count) % 192403, np.arange(count), 192403, count)
    prior, rectifier = Prior(taste[:1], taste), build(config("rectifier=mr"), "rectifier")
    before, started = peak_gib(), time.perf_counter()
    train, _ = rectifier(
        TrainData(edges, edges, features),
        lambda: prior,
        eta=dict.fromkeys(features, 0.0),
        seed=0,
        cache=Cache(None),
        device=torch.device("cpu"),
    )
    elapsed = time.perf_counter() - started
    size = sum(matrix.nbytes for matrix in (*features.values(), *train.features.values())) / 2**30
    return {"seconds": elapsed, "inputs_and_output_gib": size, "peak_before_gib": before}


def edit() -> dict:
    """Pruning and completing at the size of Electronics, with embeddings of 64 dimensions, then the amount by folds."""
    from trustmm.dataset.data import TrainData
    from trustmm.options.build import build
    from trustmm.prior.lightgcn import Prior
    from trustmm.store.cache import Cache

    num_users, num_items, count = SYNTHETIC["electronics"]
    rng = np.random.default_rng(0)
    edges = grouped_edges(rng, num_users, num_items, count)
    prior = Prior(*(rng.standard_normal((size, 64), dtype=np.float32) for size in (num_users, num_items)))
    result = {"pairs": count, "peak_before_gib": peak_gib()}
    for op, amount in (("prune", "fixed"), ("complete", "fixed"), ("prune", "auto"), ("complete", "auto")):
        stage, name = build(config("edit=both", f"edit.op={op}", f"edit.amount={amount}"), "edit"), f"{op}_{amount}"
        started, started_cpu = time.perf_counter(), time.process_time()
        train = TrainData(edges, edges, {})
        proposal = stage(train, lambda: prior, seed=0, cache=Cache(None), device=torch.device("cpu"))
        result[f"{name}_s"], result[f"{name}_cpu_s"] = time.perf_counter() - started, time.process_time() - started_cpu
        result[f"{name}_pairs"] = len(proposal.removed) + len(proposal.added)
        result[f"{name}_peak_gib"] = peak_gib()
    return result


def grouped_edges(rng: np.random.Generator, num_users: int, num_items: int, count: int):
    """Pairs of 300 groups, four of five within one; within it items are skewed."""
    from trustmm.graph.edges import Edges

    users = rng.integers(0, num_users, 3 * count)
    group = np.where(rng.random(len(users)) < 0.8, users % 300, rng.integers(0, 300, len(users)))
    place = (num_items // 300 * rng.random(len(users)) ** 2).astype(np.int64)
    keys = np.unique(users * num_items + group * (num_items // 300) + place)
    return Edges.from_keys(np.sort(rng.permutation(keys)[:count]), num_users, num_items)


def write_reviews(path: Path, count: int) -> None:
    """Synthetic reviews in the format of 2014, packed, with the proportions of Electronics and a skewed activity."""
    import gzip

    rng, block = np.random.default_rng(0), 100_000
    num_users, num_items = max(1, int(count * 0.54)), max(1, int(count * 0.061))
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as handle:
        for start in range(0, count, block):
            size = min(block, count - start)
            users = (num_users * rng.random(size) ** 6).astype(int).tolist()
            items = (num_items * rng.random(size) ** 3).astype(int).tolist()
            times = rng.integers(9e8, 1.4e9, size).tolist()
            handle.writelines(
                f'{{"reviewerID": "A{user:013d}", "asin": "B{item:09d}", "reviewerName": "somebody", '
                f'"reviewText": "{"a few words of praise " * 10}", "overall": 5.0, "summary": "good", '
                f'"unixReviewTime": {time}, "reviewTime": "07 16, 2013"}}\n'
                for user, item, time in zip(users, items, times, strict=True)
            )


def prepare(count: str = "2000000") -> dict:
    """A data set folder from a packed file of that many reviews."""
    from trustmm.dataset.prepare.options import Preparation
    from trustmm.dataset.prepare.pipeline import prepare as run

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "reviews.json.gz"
        write_reviews(path, int(count))
        before, started, cpu = peak_gib(), time.perf_counter(), time.process_time()
        steps = run(Preparation(out=Path(place) / "toys", interactions=(path,)))["steps"]
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
        size = path.stat().st_size / 2**20
    sizes = {
        f"{when}_{what}": step[what]
        for when, step in (("raw", steps[0]), ("core", steps[-1]))
        for what in ("interactions", "users", "items")
    }
    return {"seconds": elapsed, "cpu_seconds": cpu, "file_mib": size, "peak_before_gib": before, **sizes}


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


MEASURES = {
    "machine": lambda: machine(seconds),
    "kernels": kernels,
    "segments": segments,
    "rectify": rectify,
    "edit": edit,
    "prepare": prepare,
    "backbone": backbone,
    "profile": profile,
    "scale": scale,
    "lazy": lazy,
}
