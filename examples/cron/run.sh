#!/usr/bin/env bash
# Runs the tap into a target once, and keeps the last state that the target confirmed:
#   run.sh DIRECTORY TARGET [ARGUMENT...]
# DIRECTORY has config.json and, to select streams, catalog.json; the script creates state.json and lock there.
# TAP is the path of the tap, if it is not on the PATH. CONFIG is a second config file whose settings override those of
# config.json. WAIT is how many seconds to wait for a run that is still active (0).
# Ends with the target's exit code if that failed, otherwise with the tap's; with 75 if another run is still active.
set -uo pipefail
umask 077

directory=${1:?usage: run.sh DIRECTORY TARGET [ARGUMENT...]}
shift
: "${1:?usage: run.sh DIRECTORY TARGET [ARGUMENT...]}"
cd "$directory" || exit 2

# Tap and target inherit the lock: it is held until both have ended, even if this shell is killed.
exec 9>lock
if ! flock --timeout "${WAIT:-0}" 9; then
  echo "Another run in $directory is still active; nothing was done." >&2
  exit 75
fi

# keep: replace the state by each complete line of input. A line that was cut short has no end and is not read.
keep() {
  local line failed=0
  while IFS= read -r line; do
    [[ $line == \{*\} ]] || continue
    printf '%s\n' "$line" >state.json.new && sync state.json.new && mv state.json.new state.json
    failed=$?
  done
  return "$failed"
}

arguments=(--config config.json)
[ -n "${CONFIG:-}" ] && arguments+=(--config "$CONFIG")
[ -s catalog.json ] && arguments+=(--catalog catalog.json)
[ -s state.json ] && arguments+=(--state state.json)

"${TAP:-tap-klaviyo}" "${arguments[@]}" | "$@" | keep
codes=("${PIPESTATUS[@]}")

# If the target fails, the tap fails too, so the target's code says more.
for code in "${codes[1]}" "${codes[0]}" "${codes[2]}"; do
  [ "$code" -eq 0 ] || exit "$code"
done
