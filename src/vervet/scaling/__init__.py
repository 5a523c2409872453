"""What n draws are worth: estimators at k, their two intervals, comparisons and curves. Pure: numpy only."""
