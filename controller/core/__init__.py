"""The program: one input image and one memory become one output image and the next memory. No I/O, no clock."""
