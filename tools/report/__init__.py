"""Reports that people read: self-contained pages with plots, made from what was recorded."""
