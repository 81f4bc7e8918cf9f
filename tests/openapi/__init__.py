"""The contract with Klaviyo's OpenAPI document; runs in an environment of its own, where openapi-core is."""
