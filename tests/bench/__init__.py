# SPDX-License-Identifier: MIT
"""How much the real service process can take, and what it costs."""
