"""Predictions: their inputs, images or a store, and the tables and pages made of them."""
