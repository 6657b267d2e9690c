"""What an answer says: numbers, quantities, units and moments; and the cases that the verifiers are held to."""
