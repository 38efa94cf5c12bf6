#!/bin/sh
# SPDX-License-Identifier: MIT
# Run a command with less of the processors than others:  at-priority.sh NICE COMMAND...
# With 3 it gets half as much as another program, with 19 what others leave.
#
# Linux shares the processors among sessions (/proc/sys/kernel/sched_autogroup_enabled), and
# "nice" counts within one session only. So the command has a session of its own, with that
# share. It ends with the shell that started it.
exec setsid --wait setpriv --pdeathsig TERM sh -c '
    nice=$1
    shift
    echo "$nice" 2>/dev/null >/proc/self/autogroup
    exec nice -n "$nice" "$@"
' sh "$@"
