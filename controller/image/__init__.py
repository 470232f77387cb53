"""Images shared between processes: mmap'ed slots and rings, laid out by the tags."""
