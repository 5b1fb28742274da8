"""Events → text that is only ever added to: what protocols without revision can send."""

from rivulet.events import Event, Final


class SettledText:
    """Gives out settled words once; all it gave out, joined, is the text of the finals."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.text = ""
        self._given = 0  # words of the open segment

    def push(self, event: Event) -> str:
        """Return what the event adds: a blank between words included, empty for nothing new."""
        words = event.text.split()
        final = isinstance(event, Final)
        settled = len(words) if isinstance(event, Final) else event.stable
        added = words[self._given : settled]
        self._given = 0 if final else max(self._given, settled)
        if not added:
            return ""
        delta = (" " if self.text else "") + " ".join(added)
        self.text += delta
        return delta
