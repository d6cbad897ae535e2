"""Finds the faces of a portrait, for every engine that asks before it renders."""
