"""The controller: a pure core, the images it works on, and the adapters around it."""
