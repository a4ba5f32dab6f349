"""Backups beside a running server, and what makes a data directory of one again.

The server holds one consistent state, by hard links, for as long as somebody copies it
(``holding``). Whoever copies writes a manifest last, with a checksum of every file (``copying``),
so nothing half-copied is ever restored (``restoring``).
"""
