"""From the command `annealer up` to an answer, beside a bare FastAPI program.

And what the app's import costs: it must not bring torch.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx
from rich.table import Table

from app.embedded import free_port
from benchmarks.figures import spread, table
from tests.servers import Process, await_true

ROUNDS = 5
BARE = "from fastapi import FastAPI\napp = FastAPI()\n@app.get('/healthz')\ndef healthz(): return {}\n"


def run() -> Iterator[Table]:
    """Both programs in turn, on a warm disk."""
    up: list[float] = []
    bare: list[float] = []
    # What is stopped while it starts may write for a moment longer.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "bare.py").write_text(BARE)
        for turn in range(ROUNDS + 1):
            port = free_port()
            command = [sys.executable, "-m", "uvicorn", "--app-dir", name, "bare:app", f"--port={port}"]
            bare.append(_seconds(command, port, folder))
            port = free_port()
            annealer = str(Path(sys.executable).with_name("annealer"))
            command = [annealer, "up", "--port", str(port), "--data", str(folder / f"data-{turn}")]
            up.append(_seconds(command, port, folder))
    # The first turn warms the disk.
    del up[0], bare[0]
    found = table(
        "seconds from the command to the first answer of /healthz", "program", "seconds", "times the bare one"
    )
    found.add_row("bare FastAPI under uvicorn", spread(bare), "1.00")
    found.add_row("annealer up, a new folder", spread(up), f"{median(up) / median(bare):.2f}")
    yield found
    yield _imports()


def _seconds(command: list[str], port: int, folder: Path) -> float:
    began = time.monotonic()
    with Process(command, folder / "log") as process:
        await_true(lambda: _answers(port), 60)
        seconds = time.monotonic() - began
        process.stop()
    return seconds


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").is_success
    except httpx.TransportError:
        return False


def _imports() -> Table:
    program = "import sys, app.main, app.cli, app.client; print('torch' in sys.modules)"
    brings = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    found = table("what the app imports", "", "torch")
    found.add_row("app.main, app.cli, app.client", {"True": "imported", "False": "not imported"}[brings])
    return found
