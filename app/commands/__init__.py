"""The commands of `annealer`, by what they are about."""
