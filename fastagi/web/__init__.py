# SPDX-License-Identifier: MIT
"""The web process: console, HTTP API, metrics and webhooks. It needs no Twisted.

It steers the service only through the service's control socket, and reads the database
of tasks with read-only connections. Its own data are in a database of its own.
"""
