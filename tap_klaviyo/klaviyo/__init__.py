"""Klaviyo's API over HTTP: it asks for pages, and knows nothing of Singer or the settings."""
