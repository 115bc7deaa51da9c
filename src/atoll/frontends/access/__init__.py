"""Who may use what: restricted APIs, API keys, and which web pages may ask."""
