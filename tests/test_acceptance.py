"""One job through the whole service, by HTTP alone: from the submit to predictions of a downloaded snapshot."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors
import torch
from safetensors.numpy import load_file

from tests.servers import Api, Valkey, Worker, await_true
from tests.specs import document
from trainer import data, snapshot
from trainer.evaluate import log_probabilities, scores

SPEC = document(
    name="acceptance",
    network={"kind": "convnet", "channels": [8, 16], "batch_norm": {}, "dropout": {"drop": 0.2}},
    augmentation=[{"kind": "random_crop", "padding": 2}],
    schedule={"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 3},
    epochs=9,
)


@dataclass
class Service:
    """API, broker and worker as processes."""

    api: Api
    worker: Worker
    http: httpx.Client

    def submit(self) -> str:
        """Queue the job; its id."""
        answer = self.http.post("/v1/jobs", json=SPEC)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def get(self, path: str) -> Any:
        """What is at an address."""
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def poll(self, job_id: str) -> list[dict[str, Any]]:
        """The job after each change, as a script would wait for it, until it is final."""
        seen = [self.get(f"/v1/jobs/{job_id}")]
        while seen[-1]["status"] in ("queued", "running"):
            headers = {"If-None-Match": f'"{seen[-1]["version"]}"', "Prefer": "wait=20"}
            answer = self.http.get(f"/v1/jobs/{job_id}", headers=headers, timeout=30)
            if answer.status_code == 200:
                seen.append(answer.json())
        return seen


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Service]:
    """The service on each database."""
    with (
        Valkey(tmp_path) as valkey,
        Api(tmp_path, database_url, valkey.url) as api,
        Worker(tmp_path, database_url, valkey.url) as worker,
        httpx.Client(base_url=api.url) as http,
    ):
        worker.await_ready()
        yield Service(api, worker, http)


def download(service: Service, taken: dict[str, Any], folder: Path) -> Path:
    path = folder / f"{taken['number']}.safetensors"
    answer = service.http.get(taken["weights"])
    assert answer.headers["ETag"] == f'"{sha256(answer.content).hexdigest()}"'
    path.write_bytes(answer.content)
    return path


def test_a_job_from_submit_to_the_predictions_of_its_snapshots(service: Service, tmp_path: Path) -> None:
    job_id = service.submit()

    seen = service.poll(job_id)

    assert seen[-1]["status"] == "succeeded"
    assert [job["version"] for job in seen] == sorted({job["version"] for job in seen})
    assert [job["progress"]["step"] for job in seen] == sorted(job["progress"]["step"] for job in seen)
    assert any(job["phase"] == "training" and job["progress"]["images_per_second"] for job in seen)
    measured = service.get(f"/v1/jobs/{job_id}/metrics")
    assert [epoch["epoch"] for epoch in measured["epochs"]] == list(range(1, 10))
    assert measured["series"]["loss"]["steps"] == list(range(1, 9 * 32 + 1))
    digits = data.load("mnist5k")
    images, labels = torch.tensor(digits.validation.images), torch.tensor(digits.validation.labels)
    predicted = {}
    for taken in service.get(f"/v1/jobs/{job_id}/snapshots")["items"]:
        path = download(service, taken, tmp_path)
        model, provenance = snapshot.load(path)
        predicted[taken["number"]] = log_probabilities(model, images).exp()
        found = scores(predicted[taken["number"]].log(), labels)
        assert found.accuracy == taken["scores"]["accuracy"]
        assert provenance == taken["provenance"]
        with safetensors.safe_open(path, framework="np") as file:
            assert set(file.keys()) == set(load_file(path)) == set(model.state_dict())
    ensemble = service.get(f"/v1/jobs/{job_id}/ensemble")
    members = [predicted[member["number"]] for member in ensemble["members"]]
    together = np.mean([member.numpy() for member in members], axis=0).argmax(1)
    assert (together == digits.validation.labels).mean() == ensemble["scores"]["accuracy"]
    assert ensemble["scores"]["accuracy"] > 0.9


def test_a_snapshot_predicts_with_nothing_but_numpy_and_safetensors(service: Service, tmp_path: Path) -> None:
    """What another program would do with the file: here the linear layers of a perceptron."""
    spec = document(network={"kind": "mlp", "hidden": [32]}, epochs=2)
    job_id = service.http.post("/v1/jobs", json=spec).json()["id"]
    assert service.poll(job_id)[-1]["status"] == "succeeded"
    taken = service.get(f"/v1/jobs/{job_id}/snapshots")["items"][-1]

    weights = load_file(download(service, taken, tmp_path))

    digits = data.load("mnist5k").validation
    units = ((digits.images - weights["preprocessing.mean"]) / weights["preprocessing.std"]).reshape(1000, -1)
    hidden = np.maximum(units @ weights["hidden1.weight"].T + weights["hidden1.bias"], 0)
    logits = hidden @ weights["output.weight"].T + weights["output.bias"]
    assert (logits.argmax(1) == digits.labels).mean() == taken["scores"]["accuracy"]


def test_a_job_whose_training_is_killed_ends_as_if_nothing_had_happened(service: Service, tmp_path: Path) -> None:
    undisturbed = service.submit()
    assert service.poll(undisturbed)[-1]["status"] == "succeeded"
    disturbed = service.submit()
    await_true(lambda: service.get(f"/v1/jobs/{disturbed}")["progress"]["epoch"] >= 5, 60)

    for child in service.worker.children():
        os.kill(child, signal.SIGKILL)

    seen = service.poll(disturbed)
    assert (seen[-1]["status"], seen[-1]["attempt"]) == ("succeeded", 2)
    kinds = [event["kind"] for event in service.get(f"/v1/jobs/{disturbed}/events")["items"]]
    assert kinds.count("requeued") == kinds.count("resumed") == 1
    hashes = [
        [taken["sha256"] for taken in service.get(f"/v1/jobs/{job_id}/snapshots")["items"]]
        for job_id in (undisturbed, disturbed)
    ]
    assert hashes[0] == hashes[1]
    losses = [
        [epoch["validation_loss"] for epoch in service.get(f"/v1/jobs/{job_id}/metrics")["epochs"]]
        for job_id in (undisturbed, disturbed)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 9


def test_a_job_is_cancelled_and_deleted(service: Service) -> None:
    job_id = service.http.post("/v1/jobs", json={**SPEC, "epochs": 9000}).json()["id"]
    await_true(lambda: service.get(f"/v1/jobs/{job_id}")["progress"]["epoch"] >= 2, 60)

    service.http.post(f"/v1/jobs/{job_id}/cancel")

    assert service.poll(job_id)[-1]["status"] == "cancelled"
    assert service.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert service.http.get(f"/v1/jobs/{job_id}").status_code == 404
