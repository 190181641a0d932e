"""Row values -> sums and quantiles: frozen, mergeable, float64."""
