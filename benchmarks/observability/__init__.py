"""What seeing costs: recording a request, a scrape of many models, traces, an open dashboard."""
