"""The user's own crops: features, rank lists, identities, part masks, and pages to look at."""
