"""Distributed transfer learning by feature extraction on Ray."""
