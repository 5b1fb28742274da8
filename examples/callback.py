"""Listen in the background while the program does something else, and stop at the word "stop"."""

import threading

import rivulet

stop = threading.Event()


def on_event(event: object) -> None:
    """Runs in the listening thread; keep it short."""
    if isinstance(event, rivulet.Partial | rivulet.Final):
        settled = event.text.split()
        if isinstance(event, rivulet.Partial):
            settled = settled[: event.stable]  # these words cannot change any more
        if "STOP" in settled:
            stop.set()
    if isinstance(event, rivulet.Final):
        print(event.text)


with rivulet.listen_in_background(on_event, save=None) as listening:
    print("say something; the word 'stop' ends it")
    while listening.running and not stop.wait(0.1):
        pass  # your program's own work goes here
print(listening.stop())  # seconds heard, words, lag, drops
