# SPDX-License-Identifier: MIT
"""Who may use the web process, and what each of them may do."""
