"""The page in a real Chromium, whose microphone plays a clip."""

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from support.browser import CHROMIUM, QUIET, fake_microphone
from support.serving import heard, serving, text_of, transcribed
from websockets.sync.client import connect as websockets_client

from rivulet.audio import SAMPLE_RATE, load
from rivulet.audio.pcm import write_wav
from rivulet.recognizer import Recognizer
from rivulet.server.app import Settings
from rivulet.server.running import Server
from rivulet.server.settings import Access, Limits
from rivulet.text.formatter import Formatter
from rivulet.text.language import WrittenLanguage

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

CLIP = Path(__file__).parents[2] / "data" / "samples" / "slt.flac"
AXE = Path(os.environ.get("RIVULET_AXE", "node_modules/axe-core/axe.min.js"))
RATE = 48_000  # of the browser's fake microphone
PATIENCE_MS = 60_000
CLIP_S = 6.0  # of sound: the whole clip, and the silence that ends its segment
LONG_S = 12.0
RECORD = """
    globalThis.said = [];
    const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    globalThis.WebSocket = class extends WebSocket {
        constructor(url) {
            super(url);  // the page's own listeners come after this one
            this.addEventListener("message", ({data}) => {
                const {type, stream, samples} = JSON.parse(data);
                if (type === "ready" || type === "end") said.push({type, stream, samples});
            });
        }
        send(data) {
            if (typeof data !== "string") {
                const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
                said.push({type: "sound", bytes: base64(bytes)});
            }
            super.send(data);
        }
    };
    globalThis.order = [];
    const note = (name, selector) => {
        if (!order.includes(name) && document.querySelector(selector)) order.push(name);
    };
    new MutationObserver(() => {
        note("open words", ".segment:has(time:empty) .word");
        note("end of segment", ".segment time:not(:empty)");
    }).observe(document, {subtree: true, childList: true, characterData: true});
"""  # what the page sent and what the server took of it; and what could be seen first


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip as the microphone plays it: after half a second, and then silence."""
    spoken = soxr.resample(load(CLIP), SAMPLE_RATE, RATE)
    whole = np.concatenate([np.zeros(RATE // 2), spoken, np.zeros(RATE * 60)])
    return write_wav(tmp_path_factory.mktemp("microphone") / "clip.wav", whole, RATE)


@pytest.fixture(scope="module")
def server(recognizer: Recognizer) -> Iterator[Server]:
    with serving(recognizer) as running:
        yield running


@pytest.fixture(scope="module")
def chromium(sound: Path) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=[*QUIET, *fake_microphone(sound)]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(server: Server, chromium: Any) -> Iterator[Any]:
    """The page, which must not complain in its console."""
    context = chromium.new_context(color_scheme="light")
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda m: complaints.append(m.text) if m.type != "log" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.set_default_timeout(PATIENCE_MS)
    opened.add_init_script(RECORD)
    opened.goto(f"http://localhost:{server.address.port}/")
    yield opened
    context.close()
    assert complaints == []


def listen(page: Any) -> None:
    """Until a segment has ended, or where the machine lets the browser lose sound, long enough."""
    page.click("#microphone")
    ended = ".segment time:not(:empty)"
    eventually(page, lambda: page.query_selector(ended) or spoken_s(page) > LONG_S)


def spoken_s(page: Any) -> float:
    return sum(map(len, streams(page))) / RATE


def wait_for_status(page: Any, text: str) -> None:
    try:
        page.wait_for_selector(f"#status:has-text('{text}')")
    except playwright.TimeoutError:
        pytest.fail(f"the page says {page.inner_text('#status')!r}, not {text!r}")


def words(page: Any) -> list[str]:
    return [element.inner_text() for element in page.query_selector_all(".word.settled")]


def streams(page: Any) -> list[np.ndarray]:
    """What the server heard of the page, stream by stream: a browser may lose sound under load."""
    heard_by: dict[str, np.ndarray] = {}
    key = ""
    for entry in page.evaluate("said"):
        if entry["type"] == "sound":
            samples = np.frombuffer(base64.b64decode(entry["bytes"]), "<i2")
            heard_by[key] = np.concatenate([heard_by[key], samples])
        else:
            key = entry.get("stream") or key
            heard_by[key] = heard_by.get(key, np.zeros(0, np.int16))[: entry["samples"]]
    return list(heard_by.values())


def clip_words(recognizer: Recognizer) -> list[str]:
    return text_of(transcribed(recognizer, CLIP)).split()


def in_order(words: list[str], clip: list[str]) -> int:
    """Count the clip's words that are there, one after the other."""
    blocks = SequenceMatcher(None, words, clip, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks)


def stop(page: Any) -> None:
    page.click("#microphone")
    page.wait_for_selector("#status:has-text('Stopped')")


def cut_connections(server: Server) -> None:
    """Let every WebSocket be lost without a word."""
    for connection in list(server.server_state.connections):
        if hasattr(connection, "read_paused"):  # a WebSocket's
            connection.loop.call_soon_threadsafe(connection.transport.abort)


def eventually(page: Any, condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < deadline, page.inner_text("#status")
        page.wait_for_timeout(50)


def saved(page: Any, kind: str) -> str:
    with page.expect_download() as download:
        page.click(f"[data-format={kind}]")
    assert download.value.suggested_filename == f"captions.{kind}"
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_captions_of_the_microphone_appear_while_it_plays(
    page: Any, recognizer: Recognizer
) -> None:
    listen(page)
    stop(page)
    assert page.evaluate("order") == ["open words", "end of segment"]
    (spoken,) = streams(page)
    found = words(page)
    assert found == text_of(heard(recognizer, spoken, RATE)).split()
    assert in_order(found, clip_words(recognizer)) >= len(found) // 2
    late = page.inner_text("#median")
    assert float(late.split()[0]) > 0.0
    assert page.get_attribute("#histogram", "aria-label").startswith(f"{len(found)} words")


def test_words_tell_their_times_and_confidence(page: Any) -> None:
    page.set_input_files("#file", str(CLIP))
    page.wait_for_selector("#status:has-text('transcribed')")
    page.hover(".word.settled[data-facts]")
    facts = page.inner_text("#word")
    assert "s · " in facts
    assert facts.endswith("% sure")
    page.focus("#captions")
    page.keyboard.press("ArrowRight")
    second = page.inner_text("#word")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#word") != second
    assert page.inner_text("#announcer").endswith("% sure")


def test_a_dropped_file_has_the_words_of_transcribe_and_can_be_kept(
    page: Any, recognizer: Recognizer
) -> None:
    finals = transcribed(recognizer, CLIP)
    page.set_input_files("#file", str(CLIP))
    page.wait_for_selector("#status:has-text('transcribed')")
    assert words(page) == [word.text for final in finals for word in final.words]
    assert saved(page, "txt").split() == text_of(finals).split()
    assert "-->" in saved(page, "srt")
    assert saved(page, "vtt").startswith("WEBVTT")
    (event,) = map(json.loads, saved(page, "jsonl").splitlines())
    assert [(w["text"], w["start"], w["end"]) for w in event["words"]] == [
        (w.text, w.start, w.end) for w in finals[0].words
    ]
    page.set_input_files("#file", str(CLIP))
    page.wait_for_selector(".segment:nth-child(2) time:not(:empty)")
    page.wait_for_selector("#status:has-text('transcribed')")
    events = [json.loads(line) for line in saved(page, "jsonl").splitlines()]
    shift = events[1]["start"] - events[0]["start"]
    assert shift == pytest.approx(3.72)  # times go on after the first file
    page.click("#clear")
    assert words(page) == []


def test_words_are_shown_with_case_and_marks(recognizer: Recognizer, chromium: Any) -> None:
    language = WrittenLanguage.load()
    settings = Settings(new_formatter=lambda: Formatter(language))
    formatter = Formatter(language)
    shown = [formatter.push(final).display for final in transcribed(recognizer, CLIP)]
    with serving(recognizer, settings) as server:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"http://localhost:{server.address.port}/")
        page.set_input_files("#file", str(CLIP))
        page.wait_for_selector("#status:has-text('transcribed')", timeout=PATIENCE_MS)
        assert " ".join(words(page)) == " ".join(shown)
        assert saved(page, "txt").split() == " ".join(shown).split()
        context.close()


def test_a_file_can_be_dropped_on_the_page(page: Any) -> None:
    page.evaluate(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.flac"));
            const at = document.querySelector("#captions");
            at.dispatchEvent(new DragEvent("dragenter", {dataTransfer: transfer, bubbles: true}));
            at.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
        }""",
        list(CLIP.read_bytes()),
    )
    page.wait_for_selector("#status:has-text('dropped.flac')")
    page.wait_for_selector("#status:has-text('transcribed')")
    assert len(words(page)) > 8
    assert page.is_hidden("#drop")


def test_what_is_no_sound_is_said_in_a_sentence(
    server: Server, chromium: Any, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("hello " * 100)
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"http://localhost:{server.address.port}/")
    page.set_input_files("#file", str(notes))
    page.wait_for_selector("#status[data-state=error]:has-text('notes.txt')")
    context.close()


def test_a_lost_connection_goes_on_without_losing_a_word(
    page: Any, server: Server, recognizer: Recognizer
) -> None:
    """The page's own stream is cut twice while the clip plays."""
    page.click("#microphone")
    page.wait_for_selector(".word")

    def resumed() -> float:
        return server.app.metrics.registry.get_sample_value("rivulet_resumed_total") or 0.0

    for count in (1, 2):
        before = resumed()
        cut_connections(server)
        eventually(page, lambda before=before: resumed() > before)
        assert count <= resumed()
    page.wait_for_selector("#status:has-text('Listening')")
    eventually(page, lambda: spoken_s(page) > CLIP_S)
    stop(page)
    (spoken,) = streams(page)
    assert words(page) == text_of(heard(recognizer, spoken, RATE)).split()
    assert page.query_selector(".gap") is None


def test_a_server_without_room_is_asked_again(recognizer: Recognizer, chromium: Any) -> None:
    """What was said meanwhile is not lost."""
    limits = Limits(streams=1)
    with serving(recognizer, Settings(limits)) as full:
        url = f"ws://localhost:{full.address.port}/v1/stream"
        context = chromium.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(RECORD)
        page.goto(f"http://localhost:{full.address.port}/")
        with websockets_client(url) as other:
            other.send('{"type": "start"}')
            assert json.loads(other.recv())["type"] == "ready"
            page.click("#microphone")
            page.wait_for_selector("#status[data-state=busy]:has-text('The server is busy')")
            assert "taken" in page.get_attribute("#status", "title")
        page.wait_for_selector("#status:has-text('Listening')")
        eventually(page, lambda: spoken_s(page) > CLIP_S)
        stop(page)
        (spoken,) = streams(page)
        assert words(page) == text_of(heard(recognizer, spoken, RATE)).split()
        context.close()


def test_stopping_before_the_server_has_room_ends_at_once(small: Recognizer, chromium: Any) -> None:
    with serving(small, Settings(Limits(streams=1))) as full:
        context = chromium.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"http://localhost:{full.address.port}/")
        with websockets_client(f"ws://localhost:{full.address.port}/v1/stream") as other:
            other.send('{"type": "start"}')
            other.recv()
            page.click("#microphone")
            page.wait_for_selector("#status:has-text('The server is busy')")
            stop(page)
        context.close()


def test_a_server_that_began_anew_goes_on_with_what_was_said(
    page: Any, server: Server, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is gone, as after a crash: the open segment is heard again, from its sound."""
    held = server.app.streams
    monkeypatch.setattr(held, "park", lambda live, memory: held.close(live.key))
    page.click("#microphone")
    page.wait_for_selector(".word")
    cut_connections(server)
    eventually(page, lambda: len(streams(page)) == 2)
    page.wait_for_selector("#status:has-text('Listening')")
    eventually(page, lambda: spoken_s(page) > CLIP_S)
    stop(page)
    again = streams(page)[-1]
    assert words(page) == text_of(heard(recognizer, again, RATE)).split()
    assert page.query_selector(".gap") is None


def test_a_server_that_is_started_again_goes_on(recognizer: Recognizer, chromium: Any) -> None:
    """It gives last results and ends; the page begins another stream where they ended."""
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.add_init_script(RECORD)
    with serving(recognizer) as first:
        page.goto(f"http://localhost:{first.address.port}/")
        page.click("#microphone")
        page.wait_for_selector(".word")
    page.wait_for_selector("#status:has-text('Connection lost')")
    with serving(recognizer, port=first.address.port):
        page.wait_for_selector("#status:has-text('Listening')")
        eventually(page, lambda: spoken_s(page) > CLIP_S)
        stop(page)
        spoken = streams(page)
        assert len(spoken) == 2
        expected = [text_of(heard(recognizer, part, RATE)).split() for part in spoken]
        assert words(page) == [*expected[0], *expected[1]]
        starts = [element.inner_text() for element in page.query_selector_all(".segment time")]
        assert starts == sorted(starts)
    context.close()


def test_stopping_while_the_microphone_opens_leaves_the_page_usable(page: Any) -> None:
    page.evaluate(
        """() => {
            const devices = navigator.mediaDevices;
            const open = devices.getUserMedia.bind(devices);
            globalThis.allowed = new Promise((resolve) => { globalThis.allow = resolve; });
            devices.getUserMedia = async (wishes) => { await allowed; return open(wishes); };
        }"""
    )
    page.click("#microphone")
    page.wait_for_selector("#status:has-text('Asking')")
    stop(page)
    page.evaluate("allow()")
    page.click("#microphone")
    page.wait_for_selector("#status:has-text('Listening')")
    stop(page)


def test_keys_do_what_the_list_says(page: Any) -> None:
    page.keyboard.press("b")
    assert page.get_attribute("#big", "aria-pressed") == "true"
    assert page.is_hidden("aside")
    page.wait_for_function("document.fullscreenElement")
    page.keyboard.press("Escape")
    page.wait_for_function("!document.fullscreenElement")  # or its end would take the next Escape
    assert page.is_visible("aside")
    page.keyboard.press("?")
    assert page.is_visible("#shortcuts")
    page.keyboard.press("Escape")
    page.wait_for_selector("#shortcuts", state="hidden")  # an open list would take the space
    page.keyboard.press(" ")
    wait_for_status(page, "Listening")
    page.keyboard.press(" ")
    wait_for_status(page, "Stopped")


def test_a_key_right_after_the_list_of_keys_is_no_key_of_the_list(page: Any) -> None:
    page.keyboard.press("?")
    page.evaluate("""() => {
        document.querySelector("#shortcuts").close();  // its button keeps the focus for a frame
        const key = new KeyboardEvent("keydown", {key: "b", bubbles: true, cancelable: true});
        document.activeElement.dispatchEvent(key);
    }""")
    assert page.get_attribute("#big", "aria-pressed") == "true"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 820, 1280])
def test_axe_finds_nothing_to_mend(server: Server, chromium: Any, scheme: str, width: int) -> None:
    if not AXE.is_file():
        pytest.skip(f"no axe-core at {AXE}; npm install axe-core, or set RIVULET_AXE")
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(f"http://localhost:{server.address.port}/")
    page.add_script_tag(path=str(AXE))
    for state in ("empty", "captions"):
        if state == "captions":
            page.set_input_files("#file", str(CLIP))
            page.wait_for_selector("#status:has-text('transcribed')", timeout=PATIENCE_MS)
        found = page.evaluate("axe.run()")["violations"]
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, "the page can be scrolled sideways"
    context.close()


def test_the_page_needs_nothing_from_elsewhere(page: Any, server: Server) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload(wait_until="networkidle")
    assert len(asked) > 5
    here = f"http://localhost:{server.address.port}/"
    assert [url for url in asked if not url.startswith(here)] == []


def test_a_page_with_a_token_can_listen(small: Recognizer, chromium: Any) -> None:
    with serving(small, Settings(access=Access(token="a secret"))) as guarded:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"http://localhost:{guarded.address.port}/")
        page.wait_for_selector("#status:has-text('token')")
        page.fill("#token", "a secret")
        page.click("#microphone")
        page.wait_for_selector("#status:has-text('Listening')")
        context.close()
