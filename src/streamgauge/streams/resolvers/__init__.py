"""Ready-made answers to ``customer=``: who pays, found in a request.

In comes a view of a request; out goes the customer it names, None if it names nobody, or an error
if what it carries does not hold. Nothing a viewer can write freely is believed: it is signed, or it
comes from a proxy that is trusted.
"""
