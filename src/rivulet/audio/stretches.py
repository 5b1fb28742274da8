"""Stretches of a file without sound: what could not be decoded, and what was never there."""

MERGE_S = 0.2  # stretches this close are one place
NAMED = 3  # places a sentence names


class Stretches:
    """Stretches of time; seconds from the beginning."""

    def __init__(self) -> None:
        """Begin with none."""
        self.places: list[tuple[float, float]] = []  # start, length

    def add(self, start_s: float, length_s: float) -> None:
        """Note `length_s` seconds from `start_s` on."""
        if self.places and start_s - sum(self.places[-1]) <= MERGE_S:
            start, length = self.places.pop()
            self.places.append((start, length + length_s))
        else:
            self.places.append((start_s, length_s))

    @property
    def seconds(self) -> float:
        """All of them."""
        return sum(length for _, length in self.places)

    def __str__(self) -> str:
        """Name the first places."""
        named = [f"{length:.3f} s at {start:.2f} s" for start, length in self.places[:NAMED]]
        more = len(self.places) - NAMED
        return ", ".join(named) + (f" and {more} more places" if more > 0 else "")
