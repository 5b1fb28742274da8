"""A sound file as it would appear live: `python examples/transcribe_file.py talk.wav`."""

import sys

import rivulet


def main() -> None:
    """Print every partial and final of the file named on the command line."""
    stream = rivulet.Recognizer.load().stream()
    for samples in rivulet.audio.read(sys.argv[1]):
        for event in stream.accept(samples):
            print(f"{event.at:7.2f} s  {event.text}")
    for event in stream.finish():
        print(f"{event.at:7.2f} s  {event.text}")


if __name__ == "__main__":
    main()
