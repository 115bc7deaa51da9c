"""Wrong models and requests, given to one server that ends with this folder's tests."""
