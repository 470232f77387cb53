"""The I/O process: registers in, image out; outputs in, registers out."""
