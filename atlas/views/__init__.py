"""One file a view: a question, the plot that answers it, and what it is linked to."""
