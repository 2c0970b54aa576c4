"""Predictions over HTTP beside the bare forward pass of the same model in the same run.

One warm image, asked again and again by the plainest client there is, its bare calls and requests in turn, so that a
slow moment meets both; then concurrent clients and a bare loop over batches, in turn. Last, members run one after
another, as they are, against all of them as one network (`torch.func.vmap` over their stacked weights), in turn.
"""

import io
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import httpx
import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from app.client import Client
from benchmarks.figures import percentile, spread, table
from tests import servers
from trainer import data, snapshot
from trainer.predict import predict

ROUNDS = 400
CLIENTS = (1, 4, 16)
MANY_ROUNDS = 5
REQUESTS = 150
PER_REQUEST = 16
FUSED_BATCHES = (1, 16, 64, 500)
FUSED_ROUNDS = 40
SPEC = {
    "name": "answers",
    "dataset": "mnist5k",
    "network": {"kind": "convnet", "channels": [32, 64], "batch_norm": {}},
    "schedule": {"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 3},
    "epochs": 3,
    "ensemble": {"kind": "snapshots", "last": 3},
}
IMAGES = data.load("mnist5k").validation.images


def run() -> Iterator[Table]:
    """On SQLite, with one thread for the prediction worker and for the bare passes."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, servers.Template("sqlite", Path(name), None).copy(Path(name)) as url:
        folder = Path(name)
        with (
            servers.Valkey(folder) as valkey,
            servers.Api(folder, url, valkey.url) as api,
            Client(api.url, timeout=60) as client,
        ):
            with servers.Worker(folder, url, valkey.url):
                *_, job = client.watch(client.submit(SPEC).id)
            with servers.PredictionWorker(folder, url, valkey.url):
                ensemble = client.ensemble(job.id)
                members = [_member(client, folder, one.snapshot_id) for one in ensemble.members]
                yield _one_image(api.url, f"/v1/snapshots/{ensemble.members[0].snapshot_id}/predict", members[:1])
                yield _one_image(api.url, f"/v1/ensembles/{ensemble.id}/predict", members)
                yield _many(api.url, f"/v1/ensembles/{ensemble.id}/predict", members)
                yield _fused(members)


Members = list[tuple[torch.nn.Module, float]]


def _member(client: Client, folder: Path, snapshot_id: str) -> tuple[torch.nn.Module, float]:
    path = folder / f"{snapshot_id}.safetensors"
    client.download(client.snapshot(snapshot_id), path)
    return snapshot.load(path)[0], 1.0


def _one_image(url: str, path: str, members: Members) -> Table:
    image = torch.tensor(IMAGES[:1])
    bare, served = [], []
    body = _npy(IMAGES[:1])
    with closing(HTTPConnection(urlsplit(url).netloc)) as connection:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            predict(members, "mean", None, image)
            between = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": "application/x-npy"})
            with connection.getresponse() as answer:
                answer.read()
            bare.append((between - began) * 1000)
            served.append((time.perf_counter() - between) * 1000)
            assert answer.status == 200
    networks = f"{len(members)} network{'s' if len(members) > 1 else ''}"
    found = table(f"one warm image, {networks}", "", "p50 ms", "p99 ms", "goal")
    for name, samples in (("bare forward pass", bare), ("request", served)):
        found.add_row(name, f"{median(samples):.2f}", f"{percentile(samples, 99):.2f}")
    found.add_row("overhead", f"{median(served) - median(bare):.2f}", "", "at most 5")
    return found


def _many(url: str, path: str, members: Members) -> Table:
    batches = [IMAGES[start : start + PER_REQUEST] for start in range(0, len(IMAGES) - PER_REQUEST, PER_REQUEST)]
    bodies = [_npy(batches[place % len(batches)]) for place in range(REQUESTS)]
    bare, served = [], {clients: [] for clients in CLIENTS}
    with httpx.Client(
        base_url=url, headers={"Content-Type": "application/x-npy"}, limits=httpx.Limits(max_connections=max(CLIENTS))
    ) as http:
        for _ in range(MANY_ROUNDS):
            bare.append(_bare_speed(members))
            for clients, speeds in served.items():
                speeds.append(_served_speed(http, path, bodies, clients))
    found = table("images a second, an ensemble", "", "images/s", "share of the bare loop", "goal")
    found.add_row("bare loop, batches of 64", spread(bare, 0))
    for clients, speeds in served.items():
        name = f"{clients} client{'s' if clients > 1 else ''}, {PER_REQUEST} images a request"
        shares = [speed / most for speed, most in zip(speeds, bare, strict=True)]
        found.add_row(name, spread(speeds, 0), spread(shares), "0.70" if clients > 1 else "")
    return found


def _bare_speed(members: Members) -> float:
    """Images a second."""
    began = time.perf_counter()
    for batch in torch.split(torch.tensor(IMAGES), 64):
        predict(members, "mean", None, batch)
    return len(IMAGES) / (time.perf_counter() - began)


def _served_speed(http: httpx.Client, path: str, bodies: list[bytes], clients: int) -> float:
    """Images a second."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for answer in pool.map(lambda body: http.post(path, content=body), bodies):
            answer.raise_for_status()
    return len(bodies) * PER_REQUEST / (time.perf_counter() - began)


def _fused(members: Members) -> Table:
    networks = [network.eval() for network, _ in members]
    weights, buffers = torch.func.stack_module_state(networks)

    def one(weights: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(networks[0], (weights, buffers), (images,))
        return found

    together = torch.func.vmap(one)
    found = table(f"{len(members)} networks, p50 ms", "", "one after another", "fused", "fused / one after another")
    for count in FUSED_BATCHES:
        images, times = torch.tensor(IMAGES[:count]), {"apart": [], "fused": []}
        with torch.inference_mode():
            for _ in range(FUSED_ROUNDS):
                began = time.perf_counter()
                apart = torch.stack([network(images) for network in networks])
                between = time.perf_counter()
                fused = together(weights, buffers, images.expand(len(networks), *images.shape))
                times["apart"].append((between - began) * 1000)
                times["fused"].append((time.perf_counter() - between) * 1000)
        torch.testing.assert_close(fused, apart, rtol=1e-4, atol=1e-4)
        p50 = {name: median(samples) for name, samples in times.items()}
        images_told = f"{count} image{'s' if count > 1 else ''}"
        found.add_row(images_told, f"{p50['apart']:.2f}", f"{p50['fused']:.2f}", f"{p50['fused'] / p50['apart']:.2f}")
    return found


def _npy(images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    np.save(file, images)
    return file.getvalue()
