"""Which input devices there are, and which one is meant."""

import contextlib
import sys
from dataclasses import dataclass
from typing import Any

from rivulet.errors import DeviceError

COMMON_RATES_HZ = (8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000)
LIBRARY_REMEDY = {
    "linux": "install it with `apt install libportaudio2` (or your system's portaudio package)",
    "darwin": "reinstall it with `pip install --force-reinstall sounddevice`",
    "win32": "reinstall it with `pip install --force-reinstall sounddevice`",
}
SERVER_REMEDY = {"linux": ", or start the sound server (PulseAudio or PipeWire)"}


@dataclass(frozen=True)
class Device:
    """An input device in PortAudio's list; its own `sample_rate` in Hz, its most `channels`."""

    index: int
    name: str
    host: str
    sample_rate: int
    channels: int
    default: bool


def portaudio_version() -> str:
    """Return what PortAudio calls itself.

    Raises:
        DeviceError: the library is missing.
    """
    return str(import_sounddevice().get_portaudio_version()[1])


def devices() -> list[Device]:
    """Return the input devices; empty if there are none.

    Raises:
        DeviceError: the PortAudio library is missing.
    """
    sounddevice = import_sounddevice()
    hosts = sounddevice.query_hostapis()
    default = sounddevice.default.device[0]
    if default < 0:  # PortAudio names none although a host may
        default = next((h["default_input_device"] for h in hosts if h["devices"]), -1)
    return [
        Device(
            int(entry["index"]),
            str(entry["name"]),
            str(hosts[entry["hostapi"]]["name"]),
            int(entry["default_samplerate"]),
            int(entry["max_input_channels"]),
            entry["index"] == default,
        )
        for entry in sounddevice.query_devices()
        if entry["max_input_channels"] > 0
    ]


def find_device(known: list[Device], wanted: int | str | None = None) -> Device:
    """Return the device with this index, or this in its name in any case; None: the default.

    Raises:
        DeviceError: there is none, or several; the sentence lists them.
    """
    if not known:
        raise DeviceError(
            "there is no input device (PortAudio finds 0); plug in a microphone"
            f"{SERVER_REMEDY.get(sys.platform, '')}, and look with `rivulet listen -l`."
        )
    if wanted is None:
        return next((device for device in known if device.default), known[0])
    text = str(wanted).strip()
    if text.isdigit():
        found = [device for device in known if device.index == int(text)]
    else:
        found = [device for device in known if text.lower() in device.name.lower()]
        exact = [device for device in found if text.lower() == device.name.lower()]
        found = _of_one_host(exact or found)
    if len(found) == 1:
        return found[0]
    raise DeviceError(
        f"{len(found)} of {len(known)} input devices fit {text!r}; choose one of "
        + ", ".join(f"{device.index} {device.name!r} ({device.host})" for device in known)
        + "."
    )


def accepted_rates(device: Device) -> list[int]:
    """Return which of the common rates, in Hz, the device opens with."""
    sounddevice = import_sounddevice()
    rates = []
    for rate in COMMON_RATES_HZ:
        with contextlib.suppress(sounddevice.PortAudioError):
            sounddevice.check_input_settings(device.index, 1, "int16", samplerate=rate)
            rates.append(rate)
    return rates


def _of_one_host(found: list[Device]) -> list[Device]:
    """Keep one where several hosts (MME, WASAPI…) list the same device: the default, or first."""
    if len({device.name for device in found}) != 1:
        return found
    return sorted(found, key=lambda device: not device.default)[:1]


def import_sounddevice() -> Any:
    """Import sounddevice late: all else works on a machine without PortAudio."""
    try:
        import sounddevice
    except ImportError as error:
        raise DeviceError(
            f"the Python package sounddevice is missing ({error}); `pip install sounddevice`."
        ) from error
    except OSError as error:
        remedy = LIBRARY_REMEDY.get(sys.platform, "install the PortAudio library")
        raise DeviceError(f"the PortAudio library is missing ({error}); {remedy}.") from error
    return sounddevice
