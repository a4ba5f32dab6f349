"""One process that accepts usage events, keeps them once, adds them up and prices them.

In come HTTP requests; out go acknowledgements that mean "on disk, once", usage, and invoices that
are explained down to the event. What was acknowledged is never lost and never counted twice.
"""
