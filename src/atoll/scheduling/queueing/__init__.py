"""Rules of a queue beyond sizes and a delay: priorities, policies, strategies, ordered answers."""
