"""Plans: which forms are written, weighed by what calls with many candidates and with one would take."""
