"""Long files: their parts are handed out, and joined when all have come back."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from rivulet.archive.members import Display, HeardPart, Part, Spooled
from rivulet.archive.parts import Heard, Span, joined
from rivulet.archive.records import Job, Result, Settings


@dataclass
class _LongFile:
    """A file that was put aside, the spans it is cut into, and what came of them."""

    spooled: Spooled
    spans: tuple[Span, ...]
    heard: dict[Span, Heard] = field(default_factory=dict)
    elapsed_s: float = 0.0


class Assembly:
    """The long files that are under way."""

    def __init__(self, settings: Settings) -> None:
        """Begin with none."""
        self._display = Display(settings)
        self._files: dict[str, _LongFile] = {}

    def begin(self, spooled: Spooled) -> list[Part]:
        """Take a file that was put aside; return its parts."""
        elapsed_s = spooled.whole.elapsed_s
        long = _LongFile(spooled, spooled.spans, elapsed_s=elapsed_s)
        self._files[spooled.whole.job.place] = long
        return _parts(long, long.spans)

    def add(self, message: HeardPart) -> list[Part] | Result:
        """Take what came of a part; return the result of its file, or what is to be done for it.

        That is nothing while other parts are under way, and one part in the place of two that did
        not fit one another.
        """
        long = self._files.get(message.part.job.place)
        if long is None:
            return []  # the file has failed by another part
        long.heard[message.part.span] = message.heard
        long.elapsed_s += message.heard.elapsed_s
        if any(span not in long.heard for span in long.spans):
            return []
        finals = joined([long.heard[span] for span in long.spans])
        if isinstance(finals, int):
            merged = long.spans[finals].merged(long.spans[finals + 1])
            long.spans = (*long.spans[:finals], merged, *long.spans[finals + 2 :])
            return _parts(long, [merged])
        self.drop(message.part.job)
        shown = self._display.shown(finals)
        return replace(long.spooled.whole, segments=shown, elapsed_s=long.elapsed_s)

    def drop(self, job: Job) -> None:
        """Forget a file and its sound."""
        long = self._files.pop(job.place, None)
        if long is not None:
            with suppress(OSError):  # the folder is emptied at the end and at the next beginning
                Path(long.spooled.path).unlink(missing_ok=True)


def _parts(long: _LongFile, spans: Iterable[Span]) -> list[Part]:
    job, path, samples = long.spooled.whole.job, long.spooled.path, long.spans[-1].stop
    return [Part(job, path, span, samples) for span in spans]
