"""The console under ``/app/``: keys, meters, usage, events and invoices in a browser.

In come a signed-in browser's requests; out go server-rendered pages and changes to the catalog,
made through the same parts as the API. No request leaves the machine, no script is inline, and
nothing changes without the session's own CSRF token.
"""
