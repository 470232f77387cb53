"""The OPC UA information model and its server."""
