"""Find adapters: search, leaderboards, pages."""
