"""The contract with Klaviyo's OpenAPI document; runs in the environment that has openapi-core."""
