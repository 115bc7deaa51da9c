"""Trace files read again: from their entries to requests, drawn as timelines or summed up by model."""
