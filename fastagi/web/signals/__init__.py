# SPDX-License-Identifier: MIT
"""What the web process tells others: metrics, webhooks, alarms, mail."""
