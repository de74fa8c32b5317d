"""Models in float64, where two correct models agree to rounding of 1e-16 and a wrong one stands out."""
