#!/bin/sh
# SPDX-License-Identifier: MIT
# Run a command with what the others leave of the processors:  lowest-priority.sh COMMAND...
#
# Linux shares the processors among sessions (/proc/sys/kernel/sched_autogroup_enabled), and
# "nice" counts within one session only. So the command has a session of its own, with the
# lowest share. It ends with the shell that started it.
exec setsid --wait setpriv --pdeathsig TERM sh -c '
    echo 19 2>/dev/null >/proc/self/autogroup
    exec nice -n 19 "$@"
' sh "$@"
