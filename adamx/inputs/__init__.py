"""Input by people: errors with the nearest name, how commands end, the user's files, axes, data sets."""
