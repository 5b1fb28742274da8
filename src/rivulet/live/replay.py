"""A recording run again, and where its events first differ from the recorded ones."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rivulet.errors import RecordingError
from rivulet.live.recording import Recording
from rivulet.live.stream import LiveEvent, LiveStream, live_event_to_dict
from rivulet.recognizer import Recognizer


@dataclass(frozen=True)
class Difference:
    """Where a replay leaves the record: the first events that are not the same, as plain data."""

    at_s: float
    recorded: dict[str, Any] | None
    replayed: dict[str, Any] | None


@dataclass
class ReplayReport:
    """What a replay proved; filled in while it runs."""

    events: int = 0
    seconds: float = 0.0
    complete: bool = False  # False: killed, or the disk was full: its last words are not recorded
    reason: str = "killed"  # how the recording ended
    difference: Difference | None = None

    @property
    def identical(self) -> bool:
        """Whether every recorded event came out again, equal bit for bit, and no other."""
        return self.difference is None


def replay(
    recording: Recording, recognizer: Recognizer, report: ReplayReport, real_clock: bool = False
) -> Iterator[LiveEvent]:
    """Run a recording again, yield every event and fill in `report`.

    Args:
        recording: the record.
        recognizer: with the model of the record; block and endpoints are taken from the record.
        report: receives the first difference, if there is one.
        real_clock: wait for each block as long as the recording did.

    Raises:
        RecordingError: the model is another, or the file is damaged.
    """
    header = recording.header
    if recognizer.checkpoint.digest != header.digest:
        raise RecordingError(
            f"{recording.path} was made with the model {header.model!r} of sha256 "
            f"{header.digest[:12]}…, and this one is {recognizer.checkpoint.digest[:12]}…; give "
            "the same model with -m."
        )
    same = replace(
        recognizer.with_settings(header.decoder),
        block_ms=header.block_ms,
        endpoint=header.endpoint,
    )
    live = LiveStream(same, header.signal)
    began = time.monotonic()
    for recorded in recording:
        if real_clock:
            time.sleep(max(0.0, recorded.block.arrived_s - (time.monotonic() - began)))
        events = live.accept(recorded.block)
        _compare(report, recorded.events, events, live.now_s)
        yield from events
    report.seconds = live.now_s
    report.complete = recording.reason is not None
    report.reason = recording.reason or report.reason
    last = live.finish()
    if report.complete:
        _compare(report, recording.last_events, last, live.now_s)
    yield from last


def _compare(
    report: ReplayReport, recorded: list[dict[str, Any]], events: list[LiveEvent], at_s: float
) -> None:
    replayed = [json.loads(json.dumps(live_event_to_dict(event))) for event in events]
    report.events += len(recorded)
    if report.difference is not None or replayed == recorded:
        return
    for index in range(max(len(recorded), len(replayed))):
        old = recorded[index] if index < len(recorded) else None
        new = replayed[index] if index < len(replayed) else None
        if old != new:
            report.difference = Difference(round(at_s, 3), old, new)
            return
