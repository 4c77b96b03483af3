"""Small work, start-up included, beside the script one would write for it; see `__main__`."""
