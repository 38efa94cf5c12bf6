# SPDX-License-Identifier: MIT
"""The program as a process, with real sockets and real files, and without Asterisk."""
