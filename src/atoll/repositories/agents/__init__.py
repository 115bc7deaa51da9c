"""Repository agents: installed code that sees a model's files before they are loaded, and hears of its end."""
