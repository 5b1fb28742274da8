"""Events → text that is only ever added to: what protocols without revision can send."""

from rivulet.events import Event, Final, Partial


class SettledText:
    """Gives out settled words once; all it gave out, joined, is what the finals show."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.text = ""
        self._given = 0  # words, or tokens, of the open segment

    def push(self, event: Event) -> str:
        """Return what the event adds: a blank between words included, empty for nothing new."""
        words = event.display.split() if event.tokens is None else [t.text for t in event.tokens]
        final = isinstance(event, Final)
        settled = len(words) if isinstance(event, Final) else _stable(event)
        added = words[self._given : settled]
        self._given = 0 if final else max(self._given, settled)
        if not added:
            return ""
        delta = (" " if self.text else "") + " ".join(added)
        self.text += delta
        return delta


def _stable(partial: Partial) -> int:
    return partial.stable if partial.tokens is None else partial.stable_tokens
