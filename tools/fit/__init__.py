"""Cell parameters from measurements: a slow charge or discharge gives the OCV table, a pulse test the circuit."""
