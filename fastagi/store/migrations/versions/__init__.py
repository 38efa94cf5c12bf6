# SPDX-License-Identifier: MIT
"""One file per version, in the order of their numbers."""
