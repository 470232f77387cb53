"""Commands, the simulator and other programs around the controller; they may import anything."""
