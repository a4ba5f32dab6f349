"""Where bytes are seen: ASGI responses and WebSockets, iterables of chunks.

In come the chunks of a stream and who pays for them; out go the same chunks, untouched, and their
lengths to a session. A session ends on every way out: the end, an error, a cancellation, a client
that hangs up. Nothing here changes, delays or fails what is streamed.
"""
