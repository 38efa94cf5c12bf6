"""Queue callback for Asterisk.

Layers, each importing only those before it: ``wire`` and ``calls`` (pure),
``config``, ``store``, ``ami`` and ``agi`` (Twisted shells), ``service`` (the
moving parts), ``app`` (composition), ``cli``.
"""

__version__ = "0.2.0.dev0"
