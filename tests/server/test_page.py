"""The page in a real Chromium, whose microphone plays a clip."""

import json
import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from support.browser import CHROMIUM, QUIET, fake_microphone
from support.serving import heard, pcm16, serving, text_of, transcribed

from rivulet.audio import SAMPLE_RATE, load
from rivulet.recognizer import Recognizer
from rivulet.server.app import Settings
from rivulet.server.running import Server
from rivulet.server.settings import Access
from rivulet.text.formatter import Formatter
from rivulet.text.language import WrittenLanguage

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

CLIP = Path(__file__).parents[2] / "data" / "samples" / "slt.flac"
AXE = Path(os.environ.get("RIVULET_AXE", "node_modules/axe-core/axe.min.js"))
RATE = 48_000  # of the browser's fake microphone
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip as the microphone plays it: after half a second, and then silence."""
    spoken = soxr.resample(load(CLIP), SAMPLE_RATE, RATE)
    path = tmp_path_factory.mktemp("microphone") / "clip.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(pcm16(np.concatenate([np.zeros(RATE // 2), spoken, np.zeros(RATE * 60)])))
    return path


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
    opened.goto(f"http://localhost:{server.address.port}/")
    yield opened
    context.close()
    assert complaints == []


def listen_until_final(page: Any) -> None:
    page.click("#microphone")
    page.wait_for_selector(".segment time:not(:empty)")


def wait_for_status(page: Any, text: str) -> None:
    try:
        page.wait_for_selector(f"#status:has-text('{text}')")
    except playwright.TimeoutError:
        pytest.fail(f"the page says {page.inner_text('#status')!r}, not {text!r}")


def words(page: Any) -> list[str]:
    return [element.inner_text() for element in page.query_selector_all(".word.settled")]


def saved(page: Any, kind: str) -> str:
    with page.expect_download() as download:
        page.click(f"[data-format={kind}]")
    assert download.value.suggested_filename == f"captions.{kind}"
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_captions_of_the_microphone_appear_while_it_plays(
    page: Any, recognizer: Recognizer, sound: Path
) -> None:
    page.click("#microphone")
    page.wait_for_selector(".word")
    assert page.query_selector(".segment time:not(:empty)") is None, "the segment has not ended"
    page.wait_for_selector(".segment time:not(:empty)")
    page.click("#microphone")
    page.wait_for_selector("#status:has-text('Stopped')")
    played = load(sound)[: SAMPLE_RATE * 8]
    expected = text_of(heard(recognizer, played, SAMPLE_RATE)).split()
    found = words(page)
    same = sum(a == b for a, b in zip(found, expected, strict=False))
    assert len(found) == len(expected)
    assert same >= len(expected) - 2  # the microphone begins anywhere in a block
    late = page.inner_text("#median")
    assert 0.0 < float(late.split()[0]) < 5.0
    assert page.get_attribute("#histogram", "aria-label").startswith(f"{len(found)} words")


def test_words_tell_their_times_and_confidence(page: Any) -> None:
    listen_until_final(page)
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
    for _ in range(2):
        page.wait_for_timeout(1500)
        for connection in list(server.server_state.connections):
            if hasattr(connection, "read_paused"):  # a WebSocket's
                connection.loop.call_soon_threadsafe(connection.transport.abort)
    page.wait_for_selector(".segment time:not(:empty)")
    text = " ".join(words(page))
    assert text.startswith("THE LITTLE BOAT")
    assert text.endswith("THE BRIDGE")
    assert page.query_selector(".gap") is None
    assert server.app.metrics.resumed._value.get() >= 2


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
