"""A sweep: identities, plan, launch of what is left, report."""
