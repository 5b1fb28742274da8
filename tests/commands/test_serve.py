"""`rivulet serve` as a process: what it refuses, what it says, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from rivulet.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--host", "0.0.0.0", "--token", "x", "--wyoming", "0"], "--insecure"),
        (["--streams", "0"], "streams"),
        (["--workers", "0"], "workers"),
        (["--tls-cert", "nowhere.pem"], "nowhere.pem"),
        (["--tls-key", str(ROOT / "LICENSE")], "--tls-cert"),
        (["--model", "nowhere"], "nowhere"),
        (["--host", "192.0.2.1", "--insecure"], "192.0.2.1"),
        (["--port", "99999"], "99999"),
        (["--tls-cert", str(ROOT / "LICENSE")], "certificate"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RIVULET_TOKEN", raising=False)
    assert main(["serve", "--model", "tiny", "--decoder", "greedy", *flags]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("rivulet: ")
    assert said in error


@pytest.mark.slow
def test_it_says_where_it_serves_and_ends_on_sigterm_with_status_0() -> None:
    flags = ["--port", "0", "--wyoming", "0", "--model", "tiny", "--decoder", "greedy"]
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "serve", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert server.stdout
    lines = [server.stdout.readline().split() for _ in range(5)]
    said = dict(lines)  # type: ignore[arg-type]
    assert set(said) == {"page", "vosk", "events", "files", "wyoming"}
    health = json.load(urllib.request.urlopen(said["page"] + "health", timeout=10))
    assert health["model"] == "tiny"
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    _, error = server.communicate(timeout=20)
    assert server.returncode == 0, error
    assert time.monotonic() - began < 5.0
    assert not error
