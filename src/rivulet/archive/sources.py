"""What is listed and opened: local files; URLs are to come."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def opened(source: str) -> Iterator[str]:
    """Yield what `AudioFile` takes for this source."""
    yield source
