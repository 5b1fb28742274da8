"""What of a file could not be decoded, and the sentence about it."""

MERGE_S = 0.2  # stretches this close are one place
NAMED = 3  # places a sentence names


class Damage:
    """Stretches of sound that are lost; seconds from the beginning."""

    def __init__(self) -> None:
        """Begin with none."""
        self.places: list[tuple[float, float]] = []  # start, length

    def add(self, start_s: float, length_s: float) -> None:
        """Note that `length_s` seconds from `start_s` on are lost."""
        if self.places and start_s - sum(self.places[-1]) <= MERGE_S:
            start, length = self.places.pop()
            self.places.append((start, length + length_s))
        else:
            self.places.append((start_s, length_s))

    @property
    def seconds(self) -> float:
        """All that is lost."""
        return sum(length for _, length in self.places)

    def sentence(self, name: str) -> str:
        """Say how much of the file `name` is lost and where."""
        named = ", ".join(
            f"{length:.3f} s at {start:.2f} s" for start, length in self.places[:NAMED]
        )
        more = len(self.places) - NAMED
        places = f"{named} and {more} more places" if more > 0 else named
        return (
            f"{name} is damaged: {self.seconds:.3f} s of its sound cannot be decoded and are "
            f"silence here ({places}); the rest was transcribed."
        )
