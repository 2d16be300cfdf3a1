"""Recurrent cells, the encoder around them, their sizes in closed form, and the Lightning module."""
