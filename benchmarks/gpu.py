"""What a GPU makes of the backbones: an epoch and a ranking of each, jobs side by side, and where the time goes.

    python benchmarks/gpu.py > performance_gpu.md
    python benchmarks/gpu.py --backbones freedom lightgcn --data baby --jobs 1 2 4 8

Synthetic data of the size of Baby and Electronics, features of the published widths. Every measurement has a process of
its own, so that one that does not fit into the memory costs its own row; several jobs are several processes.
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from typing import Any

import torch
from measures import BACKBONES, PROFILED, SCALE_CACHE, SYNTHETIC, config, synthetic, trainable

EPOCHS = 3
"""Epochs after the first, of which the least is taken."""


def started(backbone: str, data_name: str, device: str) -> Any:
    """The data, training, model, optimiser and triples of an epoch."""
    from trustmm.job import CachedSearch
    from trustmm.store.cache import Cache

    settings, data = config(f"backbone={backbone}", f"training.device={device}"), synthetic(data_name)
    return settings, data, *trainable(settings, data, CachedSearch(Cache(SCALE_CACHE), torch.device(device), {}))


def waited(device: str) -> float:
    """The time when the device has done everything that it was told."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def epoch(backbone: str, data_name: str, device: str) -> dict[str, float]:
    """Seconds of an epoch and of a ranking of all test users, and the most memory that torch had on the device."""
    from trustmm.evaluation.full_ranking import MASKS
    from trustmm.options.build import build
    from trustmm.training.loop import train_epoch, validate

    settings, data, training, model, optimizer, triples = started(backbone, data_name, device)
    evaluator = build(settings, "evaluation").evaluator(
        data.test, dict.fromkeys(MASKS, data.train), training.torch_device
    )
    times = {"epoch_s": 0.0, "ranking_s": 0.0}
    steps = {"ranking_s": lambda: validate(model, evaluator)}
    if optimizer:
        steps["epoch_s"] = lambda: train_epoch(model.train(), optimizer, triples, training.batch_size, 0)
    for name, step in steps.items():
        taken = []
        for _ in range(1 + EPOCHS):
            before = waited(device)
            step()
            taken.append(waited(device) - before)
        times[name] = min(taken[1:])
    return times | {"gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0}


def throughput(backbone: str, data_name: str, device: str, seconds: str) -> dict[str, float]:
    """Epochs that one job finishes in so many seconds, after its first; told to begin by a line on its input."""
    from trustmm.training.loop import train_epoch

    _, _, training, model, optimizer, triples = started(backbone, data_name, device)
    train_epoch(model, optimizer, triples, training.batch_size, 0)
    print("ready", flush=True)
    sys.stdin.readline()
    before, done = waited(device), 0
    while waited(device) < before + float(seconds):
        train_epoch(model, optimizer, triples, training.batch_size, 0)
        done += 1
    return {"epochs_per_s": done / (waited(device) - before)}


def profile(backbone: str, data_name: str, device: str) -> dict[str, float]:
    """Share of an epoch's time on the device in each kernel, the largest first."""
    from torch.profiler import profile as watch

    from trustmm.training.loop import train_epoch

    _, _, training, model, optimizer, triples = started(backbone, data_name, device)
    train_epoch(model, optimizer, triples, training.batch_size, 0)
    with watch() as watched:
        train_epoch(model, optimizer, triples, training.batch_size, 1)
        waited(device)
    kind = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    times = {event.key.removeprefix("aten::"): getattr(event, kind) for event in watched.key_averages()}
    largest = sorted(times, key=times.__getitem__, reverse=True)[:PROFILED]
    return {key: times[key] / sum(times.values()) for key in largest}


MEASURES = {"epoch": epoch, "throughput": throughput, "profile": profile}


def begin(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--only", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, float] | str:
    """What a measurement found, or the last line of its error; without one, that it was killed."""
    out, error = process.communicate()
    return json.loads(out.splitlines()[-1]) if not process.returncode else ["killed", *error.split("\n")[:-1]][-1][:120]


def side_by_side(count: int, *arguments: str) -> float | str:
    """Epochs a second of so many jobs together, which begin together; or why not."""
    jobs = [begin("throughput", *arguments) for _ in range(count)]
    ready = [job.stdout.readline() for job in jobs if job.stdout]
    for job in jobs:
        if job.stdin and all(ready):
            job.stdin.write("go\n")
            job.stdin.flush()
        elif job.stdin:
            job.kill()
    found = [result(job) for job in jobs]
    errors = [each for each in found if isinstance(each, str)]
    return (
        next((each for each in errors if each != "killed"), errors[0])
        if errors
        else sum(each["epochs_per_s"] for each in found if not isinstance(each, str))
    )


def page(options: argparse.Namespace) -> None:
    """Print the three tables."""
    name = torch.cuda.get_device_name() if options.device == "cuda" else "the CPU"
    print(
        f"# Performance on {name}\n`python benchmarks/gpu.py`, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}\n"
    )
    print("| backbone | data | epoch, s | ranking, s | GiB |\n|---|---|---|---|---|")
    for data_name in options.data:
        for backbone in options.backbones:
            row = result(begin("epoch", backbone, data_name, options.device))
            cells = row if isinstance(row, str) else f"{row['epoch_s']:.3f} | {row['ranking_s']:.3f} | {row['gib']:.1f}"
            print(f"| {backbone} | {data_name} | {cells} |", flush=True)
    print("\n| jobs at a time | backbone | data | epochs a second, together |\n|---|---|---|---|")
    for data_name in options.data:
        for backbone in options.together:
            for count in options.jobs:
                found = side_by_side(count, backbone, data_name, options.device, str(options.seconds))
                print(
                    f"| {count} | {backbone} | {data_name} | {found if isinstance(found, str) else f'{found:.2f}'} |",
                    flush=True,
                )
    print("\nWhere an epoch's time goes:\n")
    for data_name in options.data:
        for backbone in options.together:
            row = result(begin("profile", backbone, data_name, options.device))
            shares = row if isinstance(row, str) else ", ".join(f"{key} {share:.0%}" for key, share in row.items())
            print(f"- {backbone} on {data_name}: {shares}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--data", nargs="+", choices=SYNTHETIC, default=["baby", "electronics"])
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=BACKBONES)
    parser.add_argument(
        "--together", nargs="+", choices=BACKBONES, default=["lightgcn", "freedom"], help="side by side"
    )
    parser.add_argument("--jobs", nargs="+", type=int, default=[1, 2, 3, 4, 6, 8], help="at a time")
    parser.add_argument("--seconds", type=float, default=20.0, help="of training side by side")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(MEASURES[options.only[0]](*options.only[1:])))
    elif options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here (python -m trustmm doctor says why); --device cpu tries this script")
    else:
        page(options)
