"""What would have been better at a first error: alternatives, confirmed, as preference pairs."""
