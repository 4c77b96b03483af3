"""Plain rows: listings, units, versions, features, splits and orders."""
