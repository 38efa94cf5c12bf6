# SPDX-License-Identifier: MIT
"""Time, threads and logs, as any Twisted service needs them."""
