"""Print what is said into the default microphone, segment by segment. Ctrl-C ends it."""

import contextlib

import rivulet

formatter = rivulet.Formatter()  # case, punctuation, digits

with contextlib.suppress(KeyboardInterrupt):
    for event in rivulet.listen(device=None):
        if isinstance(event, rivulet.Final):
            print(f"{event.start:7.2f}  {formatter.push(event).display}")
        elif isinstance(event, rivulet.Gap):
            print(f"{event.start:7.2f}  ({event.end - event.start:.2f} s of sound were lost)")
