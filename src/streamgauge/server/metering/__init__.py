"""What a meter measures: which events it takes, and what each adds.

In come meters, filters and windows in Dodo's shapes; out go checked structs, SQL expressions for
the store, and a Python reference of the same meaning. Everything here is pure: no socket, no
database, no clock. A property of another type than the one asked for never matches, and a property
that is missing never matches any operator.
"""
