"""What a site engineer writes, and how it becomes a Program: strict YAML, quantities with units, all errors at once."""
