"""The steps of the flow, as plain functions on one unit: read, embed, write; no Ray."""
