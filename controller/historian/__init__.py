"""What is kept on disk: history, events, audit, recordings, retained state."""
