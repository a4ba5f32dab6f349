"""Where usage events go once they are on disk: Dodo Payments, our server, a file, memory.

In come batches of encoded events, each with an id that never changes; out goes what was
acknowledged and what was refused, with its reason. A batch is settled whole or an error says what
to do with it; the same id may come again after a crash, and every sink counts it once.
"""
