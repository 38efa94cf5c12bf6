# SPDX-License-Identifier: MIT
"""The public HTTP API, ``/api/v1``."""
