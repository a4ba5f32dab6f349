"""The HTTP API: Dodo Payments' usage paths at the root, our own under ``/v1/``.

In come requests with a bearer key of one mode; out go JSON structs, or ``{code, message}`` and a
status. A handler sees decoded and checked input only; a refused request has changed nothing; no
answer carries a stack trace, a query or a path of this machine.
"""
