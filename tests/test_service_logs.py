"""The service's own log: one entry a line, with the ids of what it is about."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests import servers
from tests.servers import await_true
from tests.specs import document

SAY = """
import logging, threading, structlog
from app import logs
logs.configure()
logs.identify(worker="work_1")
with structlog.contextvars.bound_contextvars(job="job_1", attempt=2):
    structlog.get_logger().info("own", step=3)
    logging.getLogger("library").warning("its own %s", "words")
thread = threading.Thread(target=logging.getLogger("library").info, args=("elsewhere",))
thread.start()
thread.join()
"""


def said(**settings: str) -> str:
    environment = {**os.environ, **{f"ANNEALER_LOG_{name.upper()}": value for name, value in settings.items()}}
    done = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def entries(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_entries_of_the_program_and_of_libraries_carry_the_ids() -> None:
    own, librarys, elsewhere = entries(said())

    assert (own["event"], own["step"], own["level"]) == ("own", 3, "info")
    assert librarys["event"] == "its own words"
    for entry in (own, librarys):
        assert (entry["worker"], entry["job"], entry["attempt"]) == ("work_1", "job_1", 2)
    assert elsewhere["worker"] == "work_1"
    assert "job" not in elsewhere


def test_format_and_level_are_settings() -> None:
    text = said(format="console", level="warning")

    (line,) = text.splitlines()
    assert "its own words" in line
    assert "job=job_1" in line
    assert "\x1b" not in line


def test_a_format_that_there_is_not_is_refused() -> None:
    environment = {**os.environ, "ANNEALER_LOG_FORMAT": "xml"}

    done = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode
    assert "ANNEALER_LOG_FORMAT should be 'auto', 'json' or 'console'" in done.stderr


def test_a_job_is_followed_through_both_logs_by_its_id(sqlite_url: str, broker_url: str, tmp_path: Path) -> None:
    with (
        servers.Api(tmp_path, sqlite_url, broker_url) as api,
        servers.Worker(tmp_path, sqlite_url, broker_url) as worker,
    ):
        worker.await_ready()
        headers = {"X-Request-ID": "request-1"}
        job_id = httpx.post(f"{api.url}/v1/jobs", json=document(epochs=2), headers=headers).json()["id"]
        await_true(lambda: "attempt ended" in worker.log.read_text(), 30)
        httpx.get(f"{api.url}/v1/jobs/{job_id}")
        trained = [entry for entry in entries(worker.log.read_text()) if entry.get("job") == job_id]

    told = [entry for entry in entries(api.log.read_text()) if entry.get("job") == job_id]
    assert [entry["event"] for entry in told] == ["job submitted", "request"]
    assert told[0]["request_id"] == "request-1"
    assert all("request_id" in entry for entry in told)
    assert {"attempt started", "attempt ended"} <= {entry["event"] for entry in trained}
    assert {entry["attempt"] for entry in trained} == {1}
    assert len({entry["worker"] for entry in trained}) == 1
