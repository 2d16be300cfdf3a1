"""What has become of every run, and how long the rest will take."""
