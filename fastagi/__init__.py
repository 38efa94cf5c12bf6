"""Queue callback for Asterisk.

``docs/design.md`` describes the packages and which of them import which.
"""

__version__ = "0.2.0"
