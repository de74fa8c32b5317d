"""A model raised to float64, in which right algebra agrees and wrong algebra does not."""
