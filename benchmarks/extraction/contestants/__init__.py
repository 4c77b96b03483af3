"""Ways to extract features, each a script that can be read as the recipe it is; without raypipe."""
