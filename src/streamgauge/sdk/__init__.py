"""Counts bytes in the host's process and delivers them as usage events, each byte once.

In come `add(n)` calls of sessions and plain `track` calls; out go usage events to a sink. What
always holds, in bytes: counted == open + spooled + acknowledged + refused; a killed process loses
no counted byte, and its bytes are billed once by the process that adopts its spool.
"""
