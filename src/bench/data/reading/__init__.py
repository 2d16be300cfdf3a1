"""From files to checked rows of texts and labels, some thousands at a time."""
