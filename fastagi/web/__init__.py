# SPDX-License-Identifier: MIT
"""The web process: HTTP API, console, metrics, webhooks.

It steers only through the service's socket, and reads the service's database.
"""
