"""Plain sockets and asyncio streams: connections that carry bytes of one customer for their life.

In come connected sockets, writers and transports; out go objects with the same methods that count
what passes. The kernel is asked again and again while a connection lives, so that a long stream is
billed minute by minute, and once more when it is destroyed.
"""
