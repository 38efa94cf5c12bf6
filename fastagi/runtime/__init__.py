# SPDX-License-Identifier: MIT
"""What any Twisted service needs, whatever it does: time, threads, logs."""
