"""Observations: their fields, their reading from Gymnasium spaces, and the encoder of their images."""
