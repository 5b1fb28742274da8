"""vosk-server's own client programs, unchanged, where its repository lies beside this one.

They are not ours and not in this repository; `RIVULET_VOSK_SERVER` names another folder.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.browser import CHROMIUM, QUIET, fake_microphone
from support.serving import serving, text_of, transcribed

from rivulet.audio import SAMPLE_RATE, load
from rivulet.audio.pcm import write_wav
from rivulet.recognizer import Recognizer
from rivulet.server.app import Settings
from rivulet.server.running import Server
from rivulet.server.settings import Access

ROOT = Path(__file__).parents[2]
THEIRS = Path(os.environ.get("RIVULET_VOSK_SERVER", ROOT.parent / "vosk-server"))
PORT = 2700  # it is written in the programs
NEEDS = {"asr-test-client.py": "websocket", "test_srt.py": "srt"}


@pytest.fixture(scope="module")
def server(recognizer: Recognizer) -> Iterator[Server]:
    if not (THEIRS / "websocket" / "test.py").is_file():
        pytest.skip(f"no checkout of vosk-server at {THEIRS}")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.skip(f"port {PORT} is taken")
    anywhere = Settings(access=Access(origins=frozenset({"*"})))  # its browser demo is a page
    with serving(recognizer, anywhere, port=PORT) as running:
        yield running


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    source = ROOT / "data" / "samples" / "slt.flac"
    return write_wav(tmp_path / "clip.wav", load(source), SAMPLE_RATE)


def printed(program: str, clip: Path) -> str:
    module = NEEDS.get(Path(program).name, "websockets")
    pytest.importorskip(module)
    done = subprocess.run(
        [sys.executable, str(THEIRS / program), str(clip)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout
    return done.stdout


def replies(output: str) -> list[dict[str, object]]:
    """Take apart JSON objects that were printed one after the other."""
    decoder = json.JSONDecoder()
    found = []
    rest = output.strip()
    while rest:
        reply, end = decoder.raw_decode(rest)
        found.append(reply)
        rest = rest[end:].strip()
    return found


@pytest.mark.parametrize(
    "program",
    [
        "websocket/test.py",
        "client-samples/python/asr-test.py",
        "client-samples/python/asr-test-client.py",
    ],
)
def test_its_clients_print_the_words_and_times_of_transcribe(
    server: Server, recognizer: Recognizer, clip: Path, program: str
) -> None:
    words = [w for r in replies(printed(program, clip)) for w in r.get("result", ())]  # type: ignore[attr-defined]
    expected = [w for final in transcribed(recognizer, clip) for w in final.words]
    assert [(w["word"], w["start"], w["end"]) for w in words] == [
        (w.text.lower(), w.start, w.end) for w in expected
    ]


def test_its_client_for_phrases_prints_the_text(server: Server, clip: Path) -> None:
    last = replies(printed("websocket/test_words.py", clip))[-1]
    assert "result" not in last
    assert len(str(last["text"]).split()) > 8


def test_its_client_for_alternatives_prints_several(server: Server, clip: Path) -> None:
    last = replies(printed("websocket/test_alternatives.py", clip))[-1]
    assert 1 < len(last["alternatives"]) <= 20  # type: ignore[arg-type]


def test_its_client_for_subtitles_prints_the_text(
    server: Server, recognizer: Recognizer, clip: Path
) -> None:
    lines = printed("websocket/test_srt.py", clip).splitlines()
    text = " ".join(line for line in lines if line and not line[0].isdigit())
    assert text == text_of(transcribed(recognizer, clip)).lower()


def test_its_browser_demo_is_answered(server: Server, clip: Path) -> None:
    """Its page, from another origin, with a microphone that plays a clip.

    It turns every 16 ms of sound around before sending, so which words it shows means nothing.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    folder = THEIRS / "client-samples" / "javascript"
    if CHROMIUM is None or not folder.is_dir():
        pytest.skip("needs chromium and a checkout of vosk-server")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    site = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    replies: list[dict[str, object]] = []
    with (
        playwright.sync_playwright() as driver,
        driver.chromium.launch(
            executable_path=CHROMIUM, args=[*QUIET, *fake_microphone(clip)]
        ) as browser,
    ):
        page = browser.new_page()
        received = lambda frame: replies.append(json.loads(frame))  # noqa: E731
        page.on("websocket", lambda opened: opened.on("framereceived", received))
        page.goto(f"http://localhost:{site.server_address[1]}")
        page.dispatch_event("#listen", "mousedown")
        for _ in range(200):
            page.wait_for_timeout(100)
            if any(reply.get("partial") for reply in replies):
                break
        page.dispatch_event("#stopListening", "mouseup")
    site.shutdown()
    site.server_close()
    assert any(reply.get("partial") for reply in replies)
    assert all(reply.keys() & {"partial", "text"} for reply in replies)
