"""Playback sessions: hundreds of segment requests of a player, put together into one.

In come the measured responses of HLS and DASH, and the manifests that the application itself
serves; out comes one record for each session, with its bytes on every layer and its media seconds.
Nothing here is billed: events are made elsewhere, and their sums do not depend on sessions.
"""
