"""From a request's bytes to rows in the store, exactly once.

In come bodies of ``POST /events/ingest``; out goes an answer per event, ``stored`` or
``duplicate``, after the batch is on disk. A batch is taken whole or not at all. An id is taken
once for ever, however often it is sent and whenever the process dies. The log stands before the
store: what is on disk is inserted later, in large segments, each once.
"""
