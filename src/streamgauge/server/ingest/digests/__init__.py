"""A set of 128-bit digests that outgrows memory.

What came last is in memory, everything else in sorted files that never change. A filter in memory,
four bytes per digest, tells for nearly every digest that a file lacks it, so that a new one costs
no look at the disk. Files are merged as they grow, so there are few of them.
"""

from streamgauge.server.ingest.digests.file import DigestFile, merge, read, salvage, write
from streamgauge.server.ingest.digests.index import DigestIndex

__all__ = ["DigestFile", "DigestIndex", "merge", "read", "salvage", "write"]
