"""Pages of a job, a sweep, a data set."""
