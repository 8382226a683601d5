"""All compiled code: flat arrays in, flat arrays out, no validation."""
