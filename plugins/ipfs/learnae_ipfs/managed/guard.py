"""A daemon that outlives nobody: whoever started it holds a pipe, and its end ends the daemon, also where no code ran at that end.

By `/bin/sh`, which is on each machine that Kubo runs on, starts in milliseconds and does not share a thread with us. Asking the kernel
for a signal at the parent's death was no way: it comes at the death of the *thread* that made the child.
"""

from __future__ import annotations

from collections.abc import Sequence

END_SECONDS = 10  # for an orderly end, then it is killed

# The subshell reads until the pipe is closed. It has no standard output, so that nothing that it leaves behind keeps that open.
# What the daemon makes, its socket too, is for its owner.
_SCRIPT = f"""
umask 077
exec 3<&0
"$@" </dev/null 3<&- &
daemon=$!
(
    exec >/dev/null 2>&1
    while read -r _; do :; done
    kill -TERM "$daemon"
    for _ in $(seq {10 * END_SECONDS}); do kill -0 "$daemon" || exit 0; sleep 0.1; done
    kill -KILL "$daemon"
) <&3 3<&- &
guard=$!
exec 3<&-
wait "$daemon"
code=$?
kill "$guard"
exit "$code"
"""


def guarded(command: Sequence[str]) -> list[str]:
    """The command, to be started with a pipe as its standard input: it ends when that is closed."""
    return ["/bin/sh", "-c", _SCRIPT, "sh", *command]
