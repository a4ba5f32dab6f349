"""What Linux knows of TCP connections: bytes, segments, and when each connection is really over.

In come sockets; out come what arrived at the other side and what was on the wire, per exchange of
a connection. It works unprivileged, and without netlink with less certainty, which records say.
"""
