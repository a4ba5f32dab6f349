"""What the SDK and the server share: words, limits, exact values, and bytes that survive a crash.

In come plain values and handed-in files and clocks; out go checked values, canonical texts and
journal records. Nothing here opens a socket, reads a clock of its own or keeps module state.
"""
