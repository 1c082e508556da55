"""A sweep: ids, plan, check of the models, launch of the remaining runs, report."""
