"""A simulated plant that answers over Modbus like a real one; it shares no model code with the controller."""
