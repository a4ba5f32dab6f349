"""Bytes that nginx sends: its own access log, beside what the kernel says of its sockets.

An application names who pays in a response header, nginx writes that and what it sent into its log,
and a reader on the same host joins each line with the announcement of the connection's end.
"""
