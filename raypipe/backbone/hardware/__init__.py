"""What makes a network fast where it runs: folding, fusing, precision, compiling, batch sizes."""
