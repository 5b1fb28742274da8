"""What is listed and opened: local files; URLs are to come."""

from collections.abc import Iterator
from contextlib import contextmanager

from rivulet.archive.records import Found
from rivulet.errors import ConfigError


def listed(url: str) -> Iterator[Found]:
    """Refuse a URL."""
    raise ConfigError(f"{url} cannot be read yet; copy it to a folder.")


@contextmanager
def opened(source: str) -> Iterator[str]:
    """Yield what `AudioFile` takes for this source."""
    yield source
