"""The shapes of the three kinds of file: site, cell type, device profile."""
