"""Files over HTTP with the real `openai` package, and what browsers and monitors ask for."""

import io
import json
import re
import socket
import time
import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from support.serving import serving, text_of, transcribed

from rivulet.__main__ import main
from rivulet.acoustic.choices import BLOCK_MS, DEFAULT_BLOCK_MS
from rivulet.recognizer import Recognizer
from rivulet.server.app import Settings
from rivulet.server.running import Server
from rivulet.server.settings import Access, Limits
from rivulet.text.formatter import Formatter
from rivulet.text.language import WrittenLanguage
from rivulet.writers import open_writer

CLIP = Path(__file__).parents[2] / "data" / "samples" / "slt.flac"
MODEL = "whisper-1"  # what clients send; any name will do


@pytest.fixture(scope="module")
def server(recognizer: Recognizer) -> Iterator[Server]:
    with serving(recognizer) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url(server)}v1", api_key="any", max_retries=0)


@pytest.fixture
def nonsense(small: Recognizer) -> Iterator[Server]:
    limits = Limits(uploads=1, upload_bytes=200_000, length_s=5.0, idle_s=1.0, send_s=0.5)
    with serving(small, Settings(limits)) as running:
        yield running


def url(server: Server) -> str:
    return f"http://localhost:{server.address.port}/"


def wav(seconds: float, rate: int = 8_000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        noise = np.random.default_rng(0).integers(-9000, 9000, int(seconds * rate))
        file.writeframes(noise.astype("<i2").tobytes())
    return out.getvalue()


def post(server: Server, file: bytes, **fields: str) -> httpx.Response:
    address = f"{url(server)}v1/audio/transcriptions"
    return httpx.post(address, files={"file": ("a.wav", file)}, data=fields, timeout=30.0)


@pytest.mark.slow
def test_openais_client_has_the_words_and_times_of_transcribe(
    client: openai.OpenAI, recognizer: Recognizer
) -> None:
    finals = transcribed(recognizer, CLIP)
    with CLIP.open("rb") as file:
        answer = client.audio.transcriptions.create(
            model=MODEL,
            file=file,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
    assert answer.text == text_of(finals)
    assert [(w.word, w.start, w.end) for w in answer.words or ()] == [
        (w.text, w.start, w.end) for final in finals for w in final.words
    ]
    assert [(s.text, s.start, s.end) for s in answer.segments or ()] == [
        (f.text, f.start, f.end) for f in finals
    ]
    assert answer.duration == pytest.approx(3.72)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_are_those_of_transcribe(
    client: openai.OpenAI, recognizer: Recognizer, kind: str
) -> None:
    expected = io.StringIO()
    writer = open_writer(kind, expected, "", several=False)
    for final in transcribed(recognizer, CLIP):
        writer.write(final)
    with CLIP.open("rb") as file:
        answer = client.audio.transcriptions.create(
            model=MODEL,
            file=file,
            response_format=kind,  # type: ignore[call-overload]
        )
    assert answer == expected.getvalue()


@pytest.mark.slow
def test_text_reads_as_transcribe_shows_it(
    recognizer: Recognizer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", str(CLIP)]) == 0
    shown = capsys.readouterr().out
    assert shown != shown.upper()
    language = WrittenLanguage.load()
    with serving(recognizer, Settings(new_formatter=lambda: Formatter(language))) as server:
        whole = post(server, CLIP.read_bytes(), response_format="text").text
        lines = post(server, CLIP.read_bytes(), stream="true").text.split("\n\n")
    assert whole == shown
    deltas = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert "".join(event.get("delta", "") for event in deltas) == shown.strip()


@pytest.mark.slow
def test_plain_answers_are_the_text(client: openai.OpenAI, recognizer: Recognizer) -> None:
    expected = text_of(transcribed(recognizer, CLIP))
    with CLIP.open("rb") as file:
        assert client.audio.transcriptions.create(model=MODEL, file=file).text == expected
    with CLIP.open("rb") as file:
        text = client.audio.transcriptions.create(model=MODEL, file=file, response_format="text")
    assert text.strip() == expected


@pytest.mark.slow
def test_a_streamed_answer_only_adds(client: openai.OpenAI, recognizer: Recognizer) -> None:
    with CLIP.open("rb") as file:
        events = list(client.audio.transcriptions.create(model=MODEL, file=file, stream=True))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert len(deltas) > 3
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == "".join(deltas) == text_of(transcribed(recognizer, CLIP))


def test_own_events_come_as_lines(server: Server) -> None:
    answer = post(server, CLIP.read_bytes(), response_format="jsonl")
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert {event["type"] for event in events} == {"partial", "final", "end"}
    assert events[-1] == {"type": "end", "seconds": 3.72}


@pytest.mark.slow
def test_keywords_and_the_list_of_models_are_understood(client: openai.OpenAI) -> None:
    with CLIP.open("rb") as file:
        answer = client.audio.transcriptions.create(model=MODEL, file=file, keywords=["bridge"])
    assert "BRIDGE" in answer.text.upper()
    assert [model.id for model in client.models.list()] == ["default"]


def test_what_is_no_sound_is_refused_by_its_name(nonsense: Server) -> None:
    client = openai.OpenAI(base_url=f"{url(nonsense)}v1", api_key="any", max_retries=0)
    with pytest.raises(openai.BadRequestError, match=r" - notes\.txt .*sound") as refused:
        client.audio.transcriptions.create(model=MODEL, file=("../notes.txt", b"hello" * 100))
    assert refused.value.param == "file"


@pytest.mark.parametrize(("param", "value"), [("response_format", "docx"), ("language", "de")])
def test_wishes_that_cannot_be_granted_name_their_field(
    nonsense: Server, param: str, value: str
) -> None:
    answer = post(nonsense, wav(1.0), **{param: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.slow
def test_files_too_large_or_too_long_are_refused(nonsense: Server) -> None:
    assert post(nonsense, bytes(3 << 20)).status_code == 413
    assert post(nonsense, wav(8.0)).status_code == 413
    assert post(nonsense, wav(4.0)).status_code == 200


def test_a_truncated_file_is_reported_with_what_it_said(nonsense: Server) -> None:
    whole = CLIP.read_bytes()
    answer = post(nonsense, whole[: len(whole) // 2])
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("a.wav")
    assert answer.json()["text"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\na\r\n--x--\r\n",
         "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
        (b"\xff" * 1000, "multipart/form-data; boundary=" + "y" * 300),
    ],
)  # fmt: skip
def test_forms_that_are_none_are_refused(nonsense: Server, body: bytes, content_type: str) -> None:
    answer = httpx.post(
        f"{url(nonsense)}v1/audio/transcriptions",
        content=body,
        headers={"Content-Type": content_type},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def upload_slowly(server: Server) -> socket.socket:
    """Begin an upload and send no more."""
    client = socket.create_connection(("127.0.0.1", server.address.port))
    client.sendall(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    return client


def test_a_slow_upload_holds_its_place_for_a_limited_time(nonsense: Server) -> None:
    with upload_slowly(nonsense) as slow:
        time.sleep(0.3)
        assert post(nonsense, wav(1.0)).status_code == 503
        slow.settimeout(10.0)
        assert b" 408 " in slow.recv(1000)
    assert post(nonsense, wav(1.0)).status_code == 200


def test_an_upload_that_breaks_off_gives_its_place_back(nonsense: Server) -> None:
    for _ in range(3):
        upload_slowly(nonsense).close()
        time.sleep(0.2)
    assert post(nonsense, wav(1.0)).status_code == 200


@pytest.mark.slow
def test_health_and_metrics_tell_of_streams_but_not_of_words(server: Server) -> None:
    post(server, CLIP.read_bytes())
    health = httpx.get(f"{url(server)}health").json()
    assert (health["status"], health["model"], health["streams"]) == ("ok", "default", 0)
    metrics = httpx.get(f"{url(server)}metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for name in ("streams", "audio_seconds_total", "lag_seconds_bucket", "real_time_factor"):
        assert f"rivulet_{name}" in metrics.text
    assert "BRIDGE" not in metrics.text.upper()


def test_a_token_guards_everything_but_the_page_and_health(small: Recognizer) -> None:
    settings = Settings(access=Access(token="secret"))
    with serving(small, settings) as server:
        assert httpx.get(f"{url(server)}health").status_code == 200
        assert httpx.get(f"{url(server)}metrics").status_code == 401
        assert post(server, wav(1.0)).status_code == 401
        good = {"Authorization": "Bearer secret"}
        assert httpx.get(f"{url(server)}metrics", headers=good).status_code == 200
        client = openai.OpenAI(base_url=f"{url(server)}v1", api_key="secret")
        assert client.audio.transcriptions.create(model=MODEL, file=("a.wav", wav(1.0))).text


def test_a_foreign_page_cannot_upload(nonsense: Server) -> None:
    address = f"{url(nonsense)}v1/audio/transcriptions"
    foreign = {"Origin": "https://evil.example"}
    answer = httpx.post(address, files={"file": ("a.wav", wav(1.0))}, headers=foreign)
    assert answer.status_code == 403
    rebound = httpx.get(f"{url(nonsense)}v1/models", headers={"Host": "evil.example"})
    assert rebound.status_code == 403


def test_the_page_offers_the_blocks_there_are(nonsense: Server) -> None:
    page = httpx.get(url(nonsense)).text
    options = re.findall(r'<option value="(\d+)"( selected)?>', page)
    assert [int(block) for block, _ in options] == list(BLOCK_MS)
    assert [int(block) for block, chosen in options if chosen] == [DEFAULT_BLOCK_MS]


@pytest.mark.parametrize(
    "path",
    ["page/..%2fapp.py", "page/app.py", "page/../../app.py", "page/%00", "page/", "..%2f..%2fetc"],
)
def test_the_page_serves_its_own_files_only(nonsense: Server, path: str) -> None:
    assert httpx.get(url(nonsense) + path).status_code == 404


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\0" * 1000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET " + b"/" * 100_000,
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_requests_that_are_none_are_closed(nonsense: Server, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", nonsense.address.port)) as client:
        client.settimeout(10.0)
        answer = b""
        with suppress(ConnectionError):  # where it has not read everything
            client.sendall(request_bytes)
            answer = client.recv(1000)
        assert not answer or b"HTTP/1.1 4" in answer
    assert httpx.get(f"{url(nonsense)}health").status_code == 200


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET "]
)
def test_a_request_that_does_not_go_on_ends_the_connection(
    small: Recognizer, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr("rivulet.server.running.HEADER_S", 0.3)
    with (
        serving(small) as server,
        socket.create_connection(("127.0.0.1", server.address.port)) as client,
    ):
        client.settimeout(15.0)  # uvicorn waits 5 s for another request
        client.sendall(begun)
        received = b""
        with suppress(ConnectionError):
            while piece := client.recv(1000):
                received += piece
        assert (b" 200 " in received) == (b"/health" in begun)
