"""`rivulet doctor`: what is wrong with the microphone and how to mend it; speak while it runs."""

import argparse
from typing import TYPE_CHECKING, Any

from rivulet.commands.listen import add_device_flags
from rivulet.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from rivulet.live.checks import InputWarning, Levels
    from rivulet.live.microphone import Source

SECONDS_RANGE = (3.0, 3600.0)  # a finding needs up to 3 windows of 1 s
CHECKED = {
    "zeros": "no run of exact zeros",
    "clipping": "no clipping",
    "offset": "no DC offset",
    "quiet": "loud enough",
    "overflow": "no overflow",
    "lost": "no dropped samples",
    "drift": "clock agrees with its rate",
}


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("doctor", help="check the microphone", description=__doc__)
    add_device_flags(parser)
    parser.add_argument(
        "-s",
        "--seconds",
        type=float,
        default=12.0,
        metavar="S",
        help="listen so long (%(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line a check; return 1 if one failed.

    Raises:
        DeviceError: the device vanished.
    """
    from rivulet.live.checks import CHECKS, QUIET_S

    low, high = SECONDS_RANGE
    if not low <= args.seconds <= high:
        raise ConfigError(f"{args.seconds} s is outside {low} to {high} s; use --seconds 12.")
    source = _opened(args)
    if source is None:
        return 1
    print(f"      listening for {args.seconds:.0f} s, please speak ...", flush=True)
    found, loudest = examine(source, args.seconds)
    failed = {finding.check: finding for finding in reversed(found)}
    for check in CHECKS:
        if check in failed:
            print(f"FAIL  {check}: {failed[check].message}")
        elif check == "quiet" and "zeros" in failed:
            print(f"-     {check}: not judged, as there were zeros")
        elif check == "quiet" and args.seconds < QUIET_S:
            print(f"-     {check}: not judged; it takes {QUIET_S:.0f} s of sound")
        else:
            print(f"ok    {check}: {CHECKED[check]}")
    print(f"      loudest second: peak {loudest.peak_db:.0f} dBFS, rms {loudest.rms_db:.0f} dBFS")
    return 1 if failed else 0


def _opened(args: argparse.Namespace) -> "Source | None":
    """Return the open microphone; None after the line that says what is in the way."""
    from rivulet.live import devices, microphone

    check = "library"
    try:
        print(f"ok    library: {devices.portaudio_version()}")
        check = "devices"
        known = devices.devices()
        devices.find_device(known, args.device)
        print(f"ok    devices: {len(known)} for input")
        check = "opened"
        source = microphone.microphone(args.device, args.rate, args.channels)
        signal = source.format
        print(f"ok    opened: {signal.device}, {signal.sample_rate} Hz, {signal.channels} channels")
    except DeviceError as error:
        print(f"FAIL  {check}: {error}")
        return None
    return source


def examine(source: "Source", seconds: float) -> "tuple[list[InputWarning], Levels]":
    """Listen for `seconds`; return the findings and the loudest second.

    Raises:
        DeviceError: the device vanished.
    """
    from rivulet.live.checks import InputMonitor

    doctor = InputMonitor(source.format)
    found: list[InputWarning] = []
    loudest = doctor.levels
    try:
        for block in source:
            found += doctor.push(block)
            if doctor.levels.rms_db > loudest.rms_db:
                loudest = doctor.levels
            if doctor.now >= seconds:
                source.stop()
    finally:
        source.close()
    if doctor.now == 0.0:
        raise DeviceError("the microphone gave 0 samples; check that it is switched on.")
    return found, loudest
