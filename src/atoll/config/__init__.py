"""A model's configuration: what config.pbtxt can say, as records, and everything that is decided from it alone."""
