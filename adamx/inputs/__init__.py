"""What a person types: errors with the nearest name, the user's files, axes, data sets."""
