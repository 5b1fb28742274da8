#!/bin/sh
# A sound server without hardware, for tests/live/test_microphone.py: PulseAudio with one null sink `mic`, whose monitor is the
# default source. Installs nothing, needs no session bus, works as root. Running it twice is harmless.
#
#     eval "$(tests/support/start_pulseaudio.sh)"     # prints the variable that clients need
#
# Needs the Debian/Ubuntu packages libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins.
set -eu
folder=${RIVULET_PULSE_DIR:-/tmp/rivulet-pulse}
mkdir -p "$folder"
chmod 700 "$folder"
export PULSE_SERVER="unix:$folder/native" PULSE_RUNTIME_PATH="$folder" PULSE_STATE_PATH="$folder"
if ! pactl info >/dev/null 2>&1; then
    rm -f "$folder/native" "$folder/pid"
    # -n: no hardware modules and no module that would move a stream elsewhere when its source goes away
    pulseaudio -n --daemonize=yes --exit-idle-time=-1 --use-pid-file=no --disallow-exit=yes --log-level=error \
        --load="module-native-protocol-unix auth-anonymous=1 socket=$folder/native" \
        >"$folder/log" 2>&1 </dev/null || { cat "$folder/log" >&2; exit 1; }
    tries=0
    until pactl info >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || { echo "PulseAudio did not answer within 10 s" >&2; cat "$folder/log" >&2; exit 1; }
        sleep 0.2
    done
fi
pactl list short sinks | grep -q "	mic	" ||
    pactl load-module module-null-sink sink_name=mic >/dev/null
pactl set-default-sink mic
pactl set-default-source mic.monitor
echo "export PULSE_SERVER=$PULSE_SERVER"
