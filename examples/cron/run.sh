#!/usr/bin/env bash
# Runs the tap into a target once, and keeps the last state that the target confirmed:
#   run.sh DIRECTORY TARGET [ARGUMENT...]
# DIRECTORY has config.json and, if streams are to be selected, catalog.json; state.json and lock are made there.
# TAP is the path of the tap, if it is not on the PATH. Ends with the target's exit code, or else the tap's;
# with 75 where the last run is still going on.
set -uo pipefail
umask 077

directory=${1:?usage: run.sh DIRECTORY TARGET [ARGUMENT...]}
shift
: "${1:?usage: run.sh DIRECTORY TARGET [ARGUMENT...]}"
cd "$directory" || exit 2

# Tap and target inherit the lock: it is held until the last of them has ended, also where this shell was killed.
exec 9>lock
if ! flock --nonblock 9; then
  echo "The last run in $directory is still going on; nothing was done." >&2
  exit 75
fi

# keep: write each state that comes in over the one before. A line that was cut short has no end and is not read.
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
[ -s catalog.json ] && arguments+=(--catalog catalog.json)
[ -s state.json ] && arguments+=(--state state.json)

"${TAP:-tap-klaviyo}" "${arguments[@]}" | "$@" | keep
codes=("${PIPESTATUS[@]}")

# A tap whose target has gone fails as well, so that the target's code says more.
for code in "${codes[1]}" "${codes[0]}" "${codes[2]}"; do
  [ "$code" -eq 0 ] || exit "$code"
done
