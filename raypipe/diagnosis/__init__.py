"""What limits an extraction, and what helps: arithmetic and words on what was measured; no Ray."""
